// Says that both adapters store a document: what every other script here relies on.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PouchDB } from './clients.mjs';

const folder = mkdtempSync(join(tmpdir(), 'chesterfield-'));
for (const adapter of ['leveldb', 'memory']) {
  const db = new PouchDB(join(folder, adapter), { adapter });
  await db.put({ _id: 'a' });
  console.log(db.adapter, (await db.get('a'))._id);
  await db.destroy();
}
rmSync(folder, { recursive: true });
