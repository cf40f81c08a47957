// Starts the agent, and returns when it is ready; says why where it is not.
'use strict';
const { appendFileSync } = require('node:fs');
const { spawnSync } = require('node:child_process');

const input = (name) => (process.env[`INPUT_${name.toUpperCase()}`] ?? '').trim();

const program = input('azimds') || 'azimds';
const args = ['run', '--detach', '--credential', input('credential') || 'auto'];
if (input('tenant')) args.push('--tenant', input('tenant'));
if (input('shadow-metadata') === 'true') args.push('--shadow-metadata');
args.push(...input('args').split(/\s+/).filter(Boolean));

const ran = spawnSync(program, args, { stdio: 'inherit' });
if (ran.error) {
  console.log(`::error::${program} cannot be started: ${ran.error.message}`);
  process.exitCode = 1;
} else if (ran.status !== 0) {
  process.exitCode = ran.status ?? 1;
} else {
  appendFileSync(process.env.GITHUB_STATE, `azimds=${program}\n`); // for post.js: there is something to stop
}
