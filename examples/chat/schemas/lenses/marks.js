// *bold*, _italic_, and \ before a mark that is meant to be seen. A mark without a partner is seen, too.
const MARKS = { '*': 'bold', _: 'italic' };

// Spans in one way only: none is empty, and no two neighbours look alike.
export function plain(spans) {
  const made = [];
  for (const { text, bold, italic } of spans) {
    if (text === '') continue;
    const last = made.at(-1);
    if (last && !last.bold === !bold && !last.italic === !italic) last.text += text;
    else made.push({ text, ...(bold && { bold: true }), ...(italic && { italic: true }) });
  }
  return made;
}

export function parse(text) {
  const pieces = text.match(/\\[\\*_]|[*_]|\\|[^\\*_]+/g) ?? [];
  const left = { '*': 0, _: 0 };
  for (const piece of pieces) if (piece in MARKS) left[piece] += 1;
  for (const mark in left) left[mark] -= left[mark] % 2;

  const style = {};
  const spans = [];
  for (const piece of pieces) {
    if (left[piece] > 0) {
      left[piece] -= 1;
      style[MARKS[piece]] = !style[MARKS[piece]];
    } else {
      const isEscaped = piece.length === 2 && piece[0] === '\\';
      spans.push({ text: isEscaped ? piece[1] : piece, ...style });
    }
  }
  return plain(spans);
}

// Of plain spans.
export function print(spans) {
  let text = '';
  let style = {};
  for (const span of [...spans, { text: '' }]) {
    for (const [mark, name] of Object.entries(MARKS)) if (!style[name] !== !span[name]) text += mark;
    text += span.text.replace(/[\\*_]/g, '\\$&');
    style = span;
  }
  return text;
}
