// The world of every story: three released versions of the todo app on one database, and what each of them holds.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { inspect, isDeepStrictEqual, promisify } from 'node:util';
import { PouchDB } from './clients.mjs';

const PATIENCE = Number(process.env.PATIENCE ?? 60_000);
const proxies = process.env.PROXIES.split(' ');
const name = process.env.DATABASE ?? `todos-${process.pid}-${Date.now()}`;

// Fires whenever something has happened anywhere. Conditions are looked at again only then.
const events = new EventEmitter();
events.setMaxListeners(0);
EventEmitter.defaultMaxListeners = 0;
let happenings = 0;
const happened = () => events.emit('happened', ++happenings);

// PouchDB asks whether its database is there in the background, and leaves it at that when there is no answer. A browser would
// take no notice; the sync tries again.
process.on('unhandledRejection', (error) => {
  if (error.type !== 'system') throw error;
});

// Tells a story: whatever becomes of it, its database is deleted, and if it ends badly, everybody says what they hold.
export async function story(tell) {
  const couch = remote(process.env.COUCH);
  await couch.info();
  const watch = couch.changes({ live: true, since: 'now', style: 'all_docs' }).on('change', happened);
  const world = new World(couch);
  try {
    await tell(world);
    await world.atRest();
  } catch (error) {
    console.error(error);
    console.error(await world.describe());
    process.exitCode = 1;
  }
  watch.cancel();
  await Promise.all(world.apps.map((app) => app.offline()));
  await couch.destroy();
  // Whatever a cancelled feed still waits for is of no interest.
  process.exit();
}

// `asked` comes to hold every request.
function remote(server, headers = {}, asked = []) {
  const fetch = (url, options) => {
    for (const [header, value] of Object.entries(headers)) options.headers.set(header, value);
    asked.push({ method: options.method ?? 'GET', url: new URL(url), body: options.body });
    return PouchDB.fetch(url, options);
  };
  return new PouchDB(`${server}/${name}`, { fetch });
}

// Waits until a condition holds, that is, does not throw.
export async function until(what, condition) {
  const deadline = AbortSignal.timeout(PATIENCE);
  for (;;) {
    const seen = happenings;
    try {
      return await condition();
    } catch (error) {
      if (!(error instanceof assert.AssertionError)) throw error;
      // What happened while the condition was looked at may have made it true.
      if (seen !== happenings) continue;
      await once(events, 'happened', { signal: deadline }).catch(() => {
        throw new Error(`Waited in vain until ${what}`, { cause: error });
      });
    }
  }
}

class World {
  apps = [];
  // What everybody is to hold, by id: the document, or the live leaves of a conflict, the winner first.
  expected = {};

  constructor(couch) {
    this.couch = couch;
    [this.v1, this.v2, this.v3] = ['1.2.0', '2.0.0', '3.0.0'].map((version) => this.device(version));
  }

  // One more device with an app of this version.
  device(version) {
    const n = this.apps.length;
    const app = new App(version, `${n}-${version}`, proxies[n % proxies.length]);
    this.apps.push(app);
    return app;
  }

  // A device that only reads: what stands behind the proxy refuses whatever it writes, checkpoints too.
  reader(version) {
    return new App(version, `reader-${version}`, proxies[0], { 'X-Reads-Only': 'true' });
  }

  // As if everybody had been told.
  expects(documents) {
    Object.assign(this.expected, documents);
  }

  online(...apps) {
    for (const app of apps.length ? apps : this.apps) app.online();
  }

  async offline(...apps) {
    await Promise.all((apps.length ? apps : this.apps).map((app) => app.offline()));
  }

  // Everybody comes to hold these documents, beside what they were said to hold before; null is what they no longer hold.
  async everybodyHolds(documents) {
    for (const [id, expected] of Object.entries(documents)) {
      if (expected === null) delete this.expected[id];
      else this.expected[id] = expected;
    }
    await until('everybody holds the same', async () => {
      // An edit that shows in some versions only has been carried into the others once its author got the answer.
      for (const app of this.apps) app.hasPushed();
      same(await this.held(), this.expected, 'the database');
      await this.inStep();
    });
    for (const app of this.apps) app.hasSeenNothingOld();
  }

  // Every app holds exactly the revisions the database has, of all documents its version is to see.
  async inStep() {
    const couch = await leaves(this.couch);
    for (const app of this.apps.filter((app) => app.sync)) {
      const visible = (leaves) => Object.fromEntries([...leaves].filter(([id]) => app.sees(id)));
      same(visible(await leaves(app.db)), visible(couch), app.name);
    }
  }

  // Somebody brings the database in step by hand.
  async backfill() {
    const env = { ...process.env, CHESTERFIELD_UPSTREAM: process.env.COUCH };
    await promisify(execFile)(process.env.CHESTERFIELD, ['backfill', name], { env });
  }

  // What is alive in the database.
  async held() {
    return shown(await leaves(this.couch));
  }

  // Lets everybody sync to the end, until nobody has anything to say any more; then everything is still as it was said to be.
  async atRest() {
    await this.offline();
    let written;
    do {
      written = 0;
      for (const app of this.apps) {
        const { push, pull } = await app.db.sync(app.remote);
        written += push.docs_written + pull.docs_written;
      }
    } while (written > 0);
    for (const app of this.apps) app.sync = true;
    await this.inStep();
    for (const app of this.apps) delete app.sync;
    same(await this.held(), this.expected, 'the database');
    for (const app of this.apps) app.hasSeenNothingOld();
  }

  async describe() {
    const told = [`the database: ${inspect(await leaves(this.couch), INSPECT)}`];
    for (const app of this.apps) told.push(`${app.name}: ${inspect(await leaves(app.db), INSPECT)}`);
    return told.join('\n');
  }
}

const INSPECT = { depth: 9, maxArrayLength: null, breakLength: 200, compact: 9 };

// The classes of each version's manifest that are too old for it.
const TOO_OLD = [, /^\b$/, /^todo-item:.+:v:1$/s, /^todo-item:.+:v:[12]$/s];

class App {
  // Every request to the proxy.
  asked = [];

  constructor(version, name, proxy, headers = {}) {
    this.name = name;
    this.proxy = proxy;
    this.headers = headers;
    this.db = new PouchDB(name, { adapter: 'memory' });
    this.run(version);
    // Every document that was ever in the local database, however short.
    this.seen = new Set();
    this.kept = new Set();
    this.db.changes({ live: true }).on('change', ({ id }) => {
      this.seen.add(id);
      happened();
    });
  }

  // What it held before stays.
  async updateTo(version) {
    this.kept = new Set((await leaves(this.db)).keys());
    this.run(version);
  }

  run(version) {
    this.version = version;
    this.remote = remote(this.proxy, { 'App-Version': `todo-app@${version}`, ...this.headers }, this.asked);
  }

  sees(id) {
    return !TOO_OLD[parseInt(this.version)].test(id);
  }

  hasSeenNothingOld() {
    assert.deepEqual([...this.seen].filter((id) => !this.sees(id) && !this.kept.has(id)), [], `${this.name} has seen old documents`);
  }

  async push() {
    await this.db.replicate.to(this.remote);
  }

  // Pulls all there is; tells from where it read the feed, and what it fetched.
  async pull(options = {}) {
    this.asked.length = 0;
    const { last_seq: until } = await this.db.replicate.from(this.remote, options);
    const of = (endpoint) => this.asked.filter(({ url }) => url.pathname.endsWith(endpoint));
    const since = of('/_changes')[0].url.searchParams.get('since');
    const fetched = of('/_bulk_get').flatMap(({ body }) => JSON.parse(body).docs.map(({ id }) => id));
    return { since, until, fetched: fetched.sort() };
  }

  online() {
    this.sync = this.db.sync(this.remote, { live: true, retry: true, back_off_function: () => 50 });
    for (const event of ['active', 'paused', 'change']) {
      this.sync.on(event, happened);
      this.sync.push.on(event, happened);
    }
    this.ended = new Promise((ended) => this.sync.on('complete', ended).on('error', ended));
  }

  hasPushed() {
    if (this.sync) assert.equal(this.sync.push.state, 'pending', `${this.name} has pushed all`);
  }

  async offline() {
    if (!this.sync) return;
    this.sync.cancel();
    await this.ended;
    delete this.sync;
  }

  // The document a todo is in this version.
  item(key) {
    return `todo-item:${key}:v:${parseInt(this.version)}`;
  }

  // All documents a todo is made of in this version.
  items(key) {
    return this.version.startsWith('1') ? [this.item(key)] : [this.item(key), `todo-item-status:${key}:v:1`];
  }

  // Writes a todo as this version does, new or not.
  async write(key, fields) {
    const documents = todo(key, fields);
    for (const id of this.items(key)) await this.put(id, documents[id]);
  }

  // Deletes a todo as this version does.
  async remove(key) {
    for (const id of this.items(key)) await this.db.remove(await this.db.get(id));
  }

  // A document made or replaced.
  async put(id, fields) {
    const { _rev } = await this.db.get(id).catch(() => ({}));
    await this.db.put({ _id: id, ...(_rev && { _rev }), ...fields });
  }

  // Fails unless these fields of a document are as told.
  async shows(id, fields) {
    const shown = await this.db.get(id);
    for (const [field, value] of Object.entries(fields)) assert.deepEqual(shown[field], value, `${this.name}: ${id}: ${field}`);
  }

  // Some fields of a document changed, the others as they were.
  async change(id, fields) {
    await this.db.put({ ...(await this.db.get(id)), ...fields });
  }
}

// Every leaf of every document, by id, in CouchDB's order: live before deleted, longer before shorter, then by hash.
export async function leaves(db) {
  const { results } = await db.changes({ style: 'all_docs', batch_size: 100_000 });
  const docs = results.flatMap(({ id, changes }) => changes.map(({ rev }) => ({ id, rev })));
  const answer = docs.length ? (await db.bulkGet({ docs, attachments: true })).results : [];
  const found = new Map();
  for (const { docs: [{ ok, error }] } of answer.sort((a, b) => (a.id < b.id ? -1 : 1))) {
    if (error) throw new Error(`a leaf cannot be read: ${inspect(error)}`);
    const { _id, _rev, _deleted = false, _attachments, ...body } = ok;
    if (_attachments) body.attachments = texts(_attachments);
    if (!found.has(_id)) found.set(_id, []);
    found.get(_id).push({ rev: _rev, deleted: _deleted, body });
  }
  const rank = ({ rev, deleted }) => `${deleted ? 0 : 1}${rev.padStart(50, '0')}`;
  for (const revisions of found.values()) revisions.sort((a, b) => (rank(a) < rank(b) ? 1 : -1));
  return found;
}

// What is attached, as text.
function texts(attachments) {
  const text = ({ data }) => Buffer.from(data, 'base64').toString();
  return Object.fromEntries(Object.entries(attachments).map(([name, attachment]) => [name, text(attachment)]));
}

// The documents that are in conflict, the winner first.
export async function branchesOf(db, id) {
  const revisions = (await leaves(db)).get(id).filter(({ deleted }) => !deleted);
  return Promise.all(revisions.map(({ rev }) => db.get(id, { rev })));
}

// Fails with the documents that are not as they should be.
function same(held, expected, who) {
  const wrong = Object.keys({ ...held, ...expected }).filter((id) => !isDeepStrictEqual(held[id], expected[id]));
  const those = (documents) => Object.fromEntries(wrong.map((id) => [id, documents[id]]));
  const told = () => inspect({ holds: those(held), shouldHold: those(expected) }, INSPECT);
  if (wrong.length) assert.fail(`${who}: ${told()}`);
}

// What is alive: a document by its id, or a list if it is in conflict.
function shown(leaves) {
  const alive = [...leaves].map(([id, revisions]) => {
    const live = revisions.filter(({ deleted }) => !deleted).map(({ body }) => body);
    return [id, live.length === 1 ? live[0] : live];
  });
  return Object.fromEntries(alive.filter(([, live]) => live.length !== 0));
}

// A todo as each version shows it.
export function todo(key, { status = 'active', group = 'default', ...item }) {
  return {
    [`todo-item:${key}:v:1`]: { schema: 'todo-item', version: 1, ...item, isDone: status === 'done' },
    [`todo-item:${key}:v:2`]: { schema: 'todo-item', version: 2, ...item },
    [`todo-item:${key}:v:3`]: { schema: 'todo-item', version: 3, ...item, group },
    [`todo-item-status:${key}:v:1`]: { schema: 'todo-item-status', version: 1, status },
  };
}

// A todo that no version shows any more.
export function gone(key) {
  return Object.fromEntries(Object.keys(todo(key, {})).map((id) => [id, null]));
}
