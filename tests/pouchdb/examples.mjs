// The oldest and the newest version of an app of examples/, on two devices that sync with one database:
// node examples.mjs http://127.0.0.1:5985/book address-book
import assert from 'node:assert/strict';
import { PouchDB } from './clients.mjs';

const sentAt = '2026-03-01T12:00:00Z';
const APPS = {
  'address-book': {
    versions: ['1.0.0', '4.0.0'],
    ids: ['contact:k', 'contact:k:v:4'],
    first: { schema: 'contact', version: 1, name: 'Ada Lovelace', phone: '12', city: 'London' },
    arrives: { firstName: 'Ada', lastName: 'Lovelace', phones: [{ number: '12', kind: 'other' }] },
    // Every edit, and what the other version then shows.
    newest: [{ phones: [{ number: '12', kind: 'home' }, { number: '34', kind: 'work' }] }, { phone: '12', city: 'London' }],
    oldest: [{ note: 'counts', phone: '56' }, { note: 'counts', phones: [{ number: '56', kind: 'other' }, { number: '34', kind: 'work' }] }],
    rivals: [{ note: 'of the oldest' }, { note: 'of the newest' }],
    parts: ['contact-address:k:v:1'],
  },
  chat: {
    versions: ['1.0.0', '3.0.0'],
    ids: ['message:k:v:1', 'message:k:v:3'],
    first: { schema: 'message', version: 1, room: 'kitchen', author: 'ada', sentAt, text: '*Tea*?', deleted: false },
    arrives: { body: [{ text: 'Tea', bold: true }, { text: '?' }], status: 'sent', reactions: {} },
    newest: [{ status: 'edited', reactions: { '👍': ['bob'] } }, { text: '*Tea*?', deleted: false }],
    oldest: [{ text: '2 * 3' }, { body: [{ text: '2 * 3' }], status: 'edited', reactions: { '👍': ['bob'] } }],
    rivals: [{ room: 'of the oldest' }, { room: 'of the newest' }],
    parts: [],
  },
};

const [, , url, name] = process.argv;
const { versions, ids, first, arrives, newest, oldest, rivals, parts } = APPS[name];

class Device {
  constructor(n) {
    this.id = ids[n];
    this.db = new PouchDB(versions[n], { adapter: 'memory' });
    this.remote = new PouchDB(url, {
      fetch(address, options) {
        options.headers.set('App-Version', `${name}@${versions[n]}`);
        if (process.env.AUTHORIZATION) options.headers.set('Authorization', process.env.AUTHORIZATION);
        return PouchDB.fetch(address, options);
      },
    });
  }

  async edit(fields) {
    await this.db.put({ ...(await this.db.get(this.id)), ...fields });
  }

  async shows(fields) {
    const shown = await this.db.get(this.id);
    for (const [field, value] of Object.entries(fields)) assert.deepEqual(shown[field], value, `${this.id}: ${field}`);
  }

  conflicts() {
    return this.db.get(this.id, { conflicts: true }).then(({ _conflicts = [] }) => _conflicts);
  }

  async holds() {
    return (await this.db.allDocs()).rows.map(({ id }) => id);
  }
}

const devices = [new Device(0), new Device(1)];
const [old, young] = devices;

// Until nobody has anything to say any more.
async function sync() {
  let written;
  do {
    written = 0;
    for (const { db, remote } of devices) {
      const { push, pull } = await db.sync(remote);
      assert.deepEqual([push.errors, pull.errors], [[], []]);
      written += push.docs_written + pull.docs_written;
    }
  } while (written > 0);
}

await old.db.put({ _id: old.id, ...first });
await sync();
await young.shows(arrives);
assert.deepEqual(await young.holds(), [...parts, young.id].sort(), 'the newest version is sent no older documents');

await young.edit(newest[0]);
await sync();
await old.shows(newest[1]);
await old.edit(oldest[0]);
await sync();
await young.shows(oldest[1]);

// Both edit offline: one conflict, with the same winner, and who ends it ends it for both.
await old.edit(rivals[0]);
await young.edit(rivals[1]);
await sync();
for (const device of devices) assert.equal((await device.conflicts()).length, 1, device.id);
const [field] = Object.keys(rivals[0]);
const winner = (await old.db.get(old.id))[field];
await young.shows({ [field]: winner });
for (const loser of await young.conflicts()) await young.db.remove(young.id, loser);
await sync();
for (const device of devices) {
  assert.deepEqual(await device.conflicts(), [], device.id);
  await device.shows({ [field]: winner });
}

for (const id of [young.id, ...parts]) await young.db.remove(await young.db.get(id));
await sync();
for (const device of devices) assert.deepEqual(await device.holds(), [], device.id);
process.exit();
