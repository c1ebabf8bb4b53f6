// Two versions of the todo app, loaded from one origin, sync with a proxy at another: live, in conflict, with an attachment.
import { assert, happened, step, until } from './page.mjs';

class Device {
  constructor(version, url) {
    this.db = new PouchDB(version);
    this.db.changes({ live: true }).on('change', happened);
    this.remote = new PouchDB(url, {
      fetch(url, options) {
        options.headers.set('App-Version', `todo-app@${version}`);
        return PouchDB.fetch(url, options);
      },
    });
  }

  online() {
    this.sync = this.db.sync(this.remote, { live: true, retry: true, back_off_function: () => 50 });
    for (const event of ['active', 'paused', 'change']) this.sync.on(event, happened);
  }

  async offline() {
    const ended = new Promise((resolve) => this.sync.on('complete', resolve));
    this.sync.cancel();
    await ended;
  }

  // The document with its conflicts, or nothing.
  async get(id) {
    return this.db.get(id, { conflicts: true }).catch((error) => {
      if (error.status !== 404) throw error;
    });
  }

  async change(id, fields) {
    await this.db.put({ ...(await this.db.get(id)), ...fields });
  }
}

export async function tell({ proxy, db, name, password, refusals }) {
  const url = `${proxy}/${db}`;
  if (name) {
    await step('a session by cookie');
    const session = await fetch(`${proxy}/_session`, {
      method: 'POST',
      credentials: 'include',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ name, password }),
    });
    assert(session.ok, `_session: ${session.status}`);
    const anonymous = await fetch(`${proxy}/_all_dbs`, { credentials: 'omit' });
    assert(anonymous.status === 401, 'without the cookie there is no session');
  }
  const phone = new Device('1.2.0', url);
  const laptop = new Device('3.0.0', url);
  const [v1, v3] = ['todo-item:milk:v:1', 'todo-item:milk:v:3'];
  phone.online();
  laptop.online();

  await step('what version 1 writes reaches version 3, and no older one does');
  await phone.db.put({ _id: v1, schema: 'todo-item', version: 1, title: 'Buy milk', isDone: false });
  await until(async () => (await laptop.get(v3))?.title === 'Buy milk');
  const { rows } = await laptop.db.allDocs();
  assert(!rows.some(({ id }) => /^todo-item:.*:v:[12]$/.test(id)), JSON.stringify(rows));

  await step('what version 3 writes reaches version 1');
  await laptop.change(v3, { title: 'Buy oat milk', group: 'groceries' });
  await until(async () => (await phone.get(v1)).title === 'Buy oat milk');

  await step('an attachment arrives');
  const picture = new Blob(['a picture of milk'], { type: 'text/plain' });
  await phone.db.put({ _id: 'picture', _attachments: { 'milk.txt': { content_type: 'text/plain', data: picture } } });
  await until(() => laptop.get('picture'));
  assert((await (await laptop.db.getAttachment('picture', 'milk.txt')).text()) === 'a picture of milk', 'its text');

  await step('edits made offline are a conflict for both, with one winner');
  await Promise.all([phone.offline(), laptop.offline()]);
  await phone.change(v1, { title: 'Buy soy milk' });
  await laptop.change(v3, { title: 'Buy rice milk' });
  phone.online();
  laptop.online();
  const both = () => Promise.all([phone.get(v1), laptop.get(v3)]);
  await until(async () => (await both()).every((todo) => todo._conflicts?.length === 1));
  const [one, other] = await both();
  assert(one.title === other.title, `${one.title}, ${other.title}`);

  await step('resolved by one, it is resolved for both');
  await phone.db.remove(v1, one._conflicts[0]);
  await until(async () => (await both()).every((todo) => !todo._conflicts));
  assert((await laptop.get(v3)).title === one.title, 'the winner stays');

  await step('headers can be read');
  const head = { 'App-Version': 'todo-app@1.2.0' };
  const answer = await fetch(`${url}/${v1}`, { headers: head, credentials: 'include' });
  assert(answer.ok && /^"\d+-/.test(answer.headers.get('ETag')), `ETag: ${answer.headers.get('ETag')}`);
  if (refusals) {
    await step('what the proxy refuses can be read');
    head['App-Version'] = 'todo-app@99.0.0';
    const refused = await fetch(`${url}/${v1}`, { headers: head, credentials: 'include' });
    assert(refused.status === 400, `${refused.status}`);
    const { reason } = await refused.json();
    assert(reason.startsWith('app-version: '), reason);
  }
  await Promise.all([phone.offline(), laptop.offline()]);
}
