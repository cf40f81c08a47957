// Stops the agent, if main.js has started one.
'use strict';
const { spawnSync } = require('node:child_process');

const program = process.env.STATE_azimds;
if (program) {
  const ran = spawnSync(program, ['stop'], { stdio: 'inherit' });
  if (ran.error) console.log(`::error::${program} cannot be started: ${ran.error.message}`);
  process.exitCode = ran.error ? 1 : (ran.status ?? 1);
}
