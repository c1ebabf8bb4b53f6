// The world that scripts see: no clock, no chance, no way out, and nothing in it that one call could leave to the next.
// Answers the tools of the bridge. `fill` reads a value that was not needed before into an empty object or array.
(function (fill) {
  'use strict';
  const { ownKeys, getPrototypeOf, setPrototypeOf, getOwnPropertyDescriptor, defineProperty, deleteProperty, apply,
    construct } =
    Reflect;
  const { freeze, isFrozen } = Object;

  const hide = (object, name, value) =>
    defineProperty(object, name, { value, writable: true, enumerable: false, configurable: true });
  const refuse = (message) => {
    throw new TypeError(message);
  };

  // Dates: all of UTC, none of now. Only what ISO 8601 says is read: all else depends on the engine and on where it runs.
  const NativeDate = Date;
  const { UTC, prototype: dates } = NativeDate;
  const iso = /^(?:\d{4}|[+-]\d{6})(?:-\d\d(?:-\d\d)?)?(T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/;
  const read = (text) => {
    const found = iso.exec(text);
    if (found === null) return NaN;
    return NativeDate.parse(found[1] !== undefined && found[2] === undefined ? `${text}Z` : text);
  };
  const clock = 'there is no clock: a script makes the same of the same documents, whenever it runs';
  const UtcDate = function Date(...given) {
    if (new.target === undefined || given.length === 0) refuse(clock);
    const [first] = given;
    let time;
    if (given.length > 1) time = UTC(...given);
    else if (first instanceof NativeDate) time = first.getTime();
    else if (typeof first === 'string') time = read(first);
    else time = Number(first);
    return construct(NativeDate, [time], new.target);
  };
  UtcDate.prototype = dates;
  hide(UtcDate, 'length', 7);
  hide(UtcDate, 'parse', (text) => read(`${text}`));
  hide(UtcDate, 'UTC', UTC);
  hide(UtcDate, 'now', () => refuse(clock));
  hide(dates, 'constructor', UtcDate);
  for (const name of ownKeys(dates)) {
    if (typeof name !== 'string') continue;
    const utc = /^([gs]et)UTC(.*)$/.exec(name);
    if (utc !== null) hide(dates, utc[1] + utc[2], dates[name]);
    if (/^toLocale|^to(Date|Time)String$|^[gs]etYear$/.test(name)) deleteProperty(dates, name);
  }
  hide(dates, 'getTimezoneOffset', function getTimezoneOffset() {
    return this.getTime() * 0 + 0;
  });
  hide(dates, 'toString', dates.toUTCString);
  hide(globalThis, 'Date', UtcDate);

  // It would change even a pattern that is frozen.
  deleteProperty(RegExp.prototype, 'compile');

  // Code is what stands in the files.
  const noCode = 'scripts make no code of text: write it into the file';
  const makers = [function () {}, function* () {}, async function () {}, async function* () {}];
  for (const maker of makers) {
    const prototype = getPrototypeOf(maker);
    const refusing = function Function() {
      refuse(noCode);
    };
    refusing.prototype = prototype;
    hide(prototype, 'constructor', refusing);
    if (maker === makers[0]) hide(globalThis, 'Function', refusing);
  }

  deleteProperty(Math, 'random');
  for (const name of ['prepareStackTrace', 'stackTraceLimit', 'captureStackTrace']) deleteProperty(Error, name);

  const known = new Set(
    `AggregateError Array ArrayBuffer BigInt BigInt64Array BigUint64Array Boolean DataView Date Error EvalError Float32Array
     Float64Array Function Infinity Int16Array Int32Array Int8Array Iterator JSON Map Math NaN Number Object RangeError
     ReferenceError Reflect RegExp Set String Symbol SyntaxError TypeError URIError Uint16Array Uint32Array Uint8Array
     Uint8ClampedArray WeakMap WeakSet decodeURI decodeURIComponent encodeURI encodeURIComponent escape globalThis isFinite isNaN
     parseFloat parseInt undefined unescape`.split(/\s+/),
  );
  for (const name of ownKeys(globalThis)) {
    if (!known.has(name)) deleteProperty(globalThis, name);
  }

  // Lists of a length that nobody has filled keep the engine busy where it cannot be interrupted.
  const LONGEST = 1e6;
  const lists = Array.prototype;
  for (const name of ownKeys(lists)) {
    const method = lists[name];
    if (typeof name !== 'string' || typeof method !== 'function') continue;
    if (/^(constructor|at|entries|keys|values|push|pop|toString)$/.test(name)) continue;
    const guarded = {
      [name](...given) {
        if (this.length > LONGEST) throw new RangeError(`a list of more than ${LONGEST} elements`);
        return apply(method, this, given);
      },
    }[name];
    hide(guarded, 'length', method.length);
    hide(lists, name, guarded);
  }

  // What is assigned to an object whose prototype is frozen is still the object's own: `this.name = …` in an error of one's own.
  const errors = [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, AggregateError];
  for (const prototype of [Object.prototype, Function.prototype, ...errors.map((error) => error.prototype)]) {
    for (const name of ownKeys(prototype)) {
      const { value, configurable } = getOwnPropertyDescriptor(prototype, name);
      if (value === undefined || typeof name !== 'string' || !configurable) continue;
      defineProperty(prototype, name, {
        get: () => value,
        set(own) {
          if (this === prototype) refuse(`${name} is read-only`);
          defineProperty(this, name, { value: own, writable: true, enumerable: true, configurable: true });
        },
        enumerable: false,
        configurable: true,
      });
    }
  }

  // Values of documents are read when they are looked at; one that is not is written back as it stood.
  const readOnly = () => refuse('documents are read-only: make a new object, as in `{ ...document, field: value }`');
  const open = freeze({
    __proto__: null,
    set: readOnly,
    defineProperty: readOnly,
    deleteProperty: readOnly,
    setPrototypeOf: readOnly,
    preventExtensions: readOnly,
  });
  const opening = (what) =>
    function (target, ...given) {
      fill(this.index, target);
      setPrototypeOf(this, open);
      return what(target, ...given);
    };
  const closed = freeze({
    __proto__: open,
    get: opening(Reflect.get),
    has: opening(Reflect.has),
    ownKeys: opening(ownKeys),
    getOwnPropertyDescriptor: opening(getOwnPropertyDescriptor),
  });

  // A function answers its module's exports. Its `this` is nothing, as in a module.
  const run = (functions, imports, keep) => {
    const modules = [];
    for (let n = 0; n < functions.length; n++) {
      const module = functions[n];
      modules[n] = module(...imports[n].map((m) => modules[m]), keep);
    }
    return modules[modules.length - 1];
  };
  const leave = () => {};
  const keep = (...values) => values.forEach(freezeAll);
  const call = ({ up, down }, isUp, docs, existing, key) => {
    if (isUp === undefined) return typeof up === 'function' && typeof down === 'function';
    return (isUp ? up : down)(docs, existing, { key });
  };
  const link = (functions, imports, areStill) => {
    if (!areStill) return (isUp, docs, existing, key) => call(run(functions, imports, leave), isUp, docs, existing, key);
    const kept = run(functions, imports, keep);
    return (isUp, docs, existing, key) => {
      try {
        return call(kept, isUp, docs, existing, key);
      } catch (error) {
        // A script may change what is its own while it runs: `up.calls = 1`.
        if (!(error instanceof TypeError)) throw error;
        return call(run(functions, imports, leave), isUp, docs, existing, key);
      }
    };
  };

  const freezeAll = (value) => {
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || isFrozen(value)) return;
    freeze(value);
    freezeAll(getPrototypeOf(value));
    for (const name of ownKeys(value)) {
      const { value: held, get, set } = getOwnPropertyDescriptor(value, name);
      [held, get, set].forEach(freezeAll);
    }
  };
  const hidden = [
    ...makers.map((maker) => maker.prototype),
    [].values(),
    new Map().values(),
    new Set().values(),
    ''[Symbol.iterator](),
    'a'.matchAll(/a/g),
    [].values().map((a) => a),
    Iterator.from({ next() {} }),
    (async () => {})(),
    new Uint8Array(),
  ];
  hidden.map((value) => value && getPrototypeOf(value)).forEach(freezeAll);
  makers.map(getPrototypeOf).forEach(freezeAll);
  freezeAll(globalThis);
  return { open, closed, close: Object.preventExtensions, link, bigint: BigInt };
});
