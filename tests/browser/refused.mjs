// A page of an origin that nobody has allowed neither reads nor writes.
import { assert, step } from './page.mjs';

const refused = (request) =>
  request.then(
    (answer) => assert(false, `answered ${answer.status ?? JSON.stringify(answer)}`),
    (error) => assert(error instanceof TypeError, `${error}`),
  );

export async function tell({ proxy, db }) {
  const url = `${proxy}/${db}`;
  await step('a plain read');
  await refused(fetch(proxy));
  await step('a read that names its version');
  await refused(fetch(proxy, { headers: { 'App-Version': 'todo-app@1.2.0' } }));
  await step('a write');
  await refused(fetch(url, { method: 'PUT', credentials: 'include' }));
  await step('PouchDB');
  const remote = new PouchDB(url, { skip_setup: true });
  await refused(remote.info());
}
