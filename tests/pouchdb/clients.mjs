// The packages that the tests' clients are made of: PouchDB with its in-memory adapter.
import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';

PouchDB.plugin(memory);

export { PouchDB };
