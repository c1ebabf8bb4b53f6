export function up(docs) {
  const { title } = docs['shape@1'];
  return { 'shape@2': { title: title.toFixed(2) } };
}
export const down = up;
