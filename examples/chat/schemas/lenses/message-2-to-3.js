// Texts with marks, and spans. Both ways what is there stays as it is written if it says the same.
import { parse, plain, print } from './marks.js';

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

export function up(docs, existing) {
  const { text, ...rest } = docs['message@2'];
  const body = parse(text);
  const was = existing['message@3']?.body;
  return { 'message@3': { ...rest, body: was && same(plain(was), body) ? was : body } };
}

export function down(docs, existing) {
  const { body, ...rest } = docs['message@3'];
  const spans = plain(body);
  const was = existing['message@2']?.text;
  return { 'message@2': { ...rest, text: was !== undefined && same(parse(was), spans) ? was : print(spans) } };
}
