// The engine: networks that are described by data, computed in a worker by the functions of nn.c. A page loads this script when one of
// its figures asks for a network. The build puts `const WASM = "…"` in front of it, the compiled nn.c in base64.
//
// A network is {size, scale, shift, layers, tensors, bytes}. Its image has size × size pixels; each colour, 0 to 255, is multiplied by its
// scale, and its shift is added. Each layer takes what the one before it gave, or what the layers of its list `of` gave (0 is the
// image, 1 the first layer, …). Kinds of layers, with what they may say (weights and bias are places in `tensors`):
//   conv       weights, bias, stride (1), same (false: no padding), relu (false)
//   depthwise  weights, stride, same
//   maxpool    k (2), stride (k), same
//   affine     factor, shift (places in `tensors`), relu
//   dense      weights, bias, relu
//   mean, add, sigmoid
// A tensor is [shape, kind, first byte, count, first byte of its scales]: float32 ("f32"), float16 ("f16"), or one byte a number with a
// float32 scale for each place of the last axis ("i8"). `bytes` holds them all, compressed with gzip, in base64.

function liveWorker() {  // all of this function runs in the worker
  "use strict";
  let memory, nn, top;  // top: the first byte of memory that nobody uses
  const packs = {}, networks = [];

  const decode = (text) => {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    return bytes;
  };
  // Memory that grows is another buffer, and views of the old one are empty: so a view is made each time.
  const floats = () => new Float32Array(memory.buffer);
  const room = (count) => {
    const place = top;
    top += (count * 4 + 15) & ~15;
    const missing = Math.ceil((top - memory.buffer.byteLength) / 65536);
    if (missing > 0) memory.grow(missing);
    return place;
  };
  const put = (numbers) => { const place = room(numbers.length); floats().set(numbers, place / 4); return place; };
  const get = (place, count) => floats().slice(place / 4, place / 4 + count);

  const POWERS = Array.from({ length: 32 }, (_, exponent) => 2 ** (exponent - 15));
  const half = (bits) => {
    const exponent = bits >> 10 & 31, rest = bits & 1023;
    const value = exponent ? POWERS[exponent] * (1 + rest / 1024) : rest * 2 ** -24;
    return bits & 0x8000 ? -value : value;
  };
  async function unpack({ tensors, bytes }) {
    const buffer = await new Response(new Blob([decode(bytes)]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
    return tensors.map(([shape, kind, first, count, scales]) => {
      if (kind === "f32") return { shape, data: new Float32Array(buffer, first, count) };
      const data = new Float32Array(count);
      if (kind === "f16") {
        const bits = new Uint16Array(buffer, first, count);
        for (let i = 0; i < count; i++) data[i] = half(bits[i]);
      } else {
        const last = shape[shape.length - 1], whole = new Int8Array(buffer, first, count), scale = new Float32Array(buffer, scales, last);
        for (let i = 0, j = 0; i < count; i++, j = j + 1 === last ? 0 : j + 1) data[i] = whole[i] * scale[j];
      }
      return { shape, data };
    });
  }

  // --- layers: each takes nodes {h, w, c, at} and returns one, with forward(), and backward(g) where there is a gradient: g lies at the
  // place of the gradient of its own numbers, and the result at that of the gradient of its input's.

  // Windows of k with a stride: side of the result, and how many numbers are padded in all and in front. "same" as TensorFlow has it.
  const windows = (side, k, stride, same) => {
    const out = same ? Math.ceil(side / stride) : Math.floor((side - k) / stride) + 1;
    const padding = same ? Math.max((out - 1) * stride + k - side, 0) : 0;
    return { out, padding, front: padding >> 1 };
  };
  const padded = ({ h, w, c, at }, y, x, value) => {  // the input, or a larger copy that forward() fills anew
    if (!y.padding && !x.padding) return { at, w, fill() {} };
    const high = h + y.padding, wide = w + x.padding, copy = room(high * wide * c);
    return { at: copy, w: wide, fill: () => nn.pad(at, copy, h, w, c, y.front, x.front, high, wide, value) };
  };
  const without = (take, write) => { const mark = top, place = take(); write(place); top = mark; };  // memory that is needed for a moment

  const KINDS = {
    conv(layer, [input], tensor, gradients) {
      const { shape: [kh, kw, ci, co], data } = tensor(layer.weights), { stride = 1, same = false, relu = false } = layer;
      const bias = layer.bias === undefined ? 0 : put(tensor(layer.bias).data), up = (n) => Math.ceil(n / 8) * 8;
      const packed = room(kh * kw * ci * up(co)), turned = gradients ? room(kh * kw * co * up(ci)) : 0;
      without(() => put(data), (place) => {
        nn.pack(place, packed, kh * kw * ci, co);
        if (gradients) nn.pack_turned(place, turned, kh, kw, ci, co);
      });
      const y = windows(input.h, kh, stride, same), x = windows(input.w, kw, stride, same), image = padded(input, y, x, 0);
      const node = { h: y.out, w: x.out, c: co, at: room(y.out * x.out * co) };
      node.forward = () => {
        image.fill();
        nn.conv(image.at, image.w, ci, packed, bias, node.at, node.h, node.w, co, kh, kw, stride, relu ? 1 : 0);
      };
      if (gradients && stride === 1) {
        // What conv() gives back must be as large as the input: so the gradient from behind is padded with what the kernel lacks.
        const back = (n, k, front) => ({ padding: k - 1 + n, front: k - 1 - front });
        const high = back(input.h - node.h, kh, y.front), wide = back(input.w - node.w, kw, x.front);
        const larger = room((node.h + high.padding) * (node.w + wide.padding) * co), result = room(input.h * input.w * ci);
        node.backward = (g) => {
          if (relu) nn.relu_gradient(node.at, g, node.h * node.w * co);
          nn.pad(g, larger, node.h, node.w, co, high.front, wide.front, node.h + high.padding, node.w + wide.padding, 0);
          nn.conv(larger, node.w + wide.padding, co, turned, 0, result, input.h, input.w, ci, kh, kw, 1, 0);
          return result;
        };
      }
      return node;
    },
    depthwise(layer, [input], tensor) {
      const { shape: [kh, kw, c], data } = tensor(layer.weights), { stride = 1, same = false } = layer, weights = put(data);
      const y = windows(input.h, kh, stride, same), x = windows(input.w, kw, stride, same), image = padded(input, y, x, 0);
      const node = { h: y.out, w: x.out, c, at: room(y.out * x.out * c) };
      node.forward = () => { image.fill(); nn.depthwise(image.at, image.w, c, weights, node.at, node.h, node.w, kh, kw, stride); };
      return node;
    },
    maxpool(layer, [input], tensor, gradients) {
      const { k = 2, stride = k, same = false } = layer, { h, w, c } = input;
      const y = windows(h, k, stride, same), x = windows(w, k, stride, same), image = padded(input, y, x, -3.4e38);
      const node = { h: y.out, w: x.out, c, at: room(y.out * x.out * c) };
      node.forward = () => { image.fill(); nn.maxpool(image.at, image.w, c, node.at, node.h, node.w, k, stride); };
      if (gradients && k === 2 && stride === 2) {
        const result = room(h * w * c);
        node.backward = (g) => { nn.maxpool_gradient(input.at, g, result, h, w, c); return result; };
      }
      return node;
    },
    affine(layer, [input], tensor) {
      const { h, w, c } = input, factor = put(tensor(layer.factor).data), shift = put(tensor(layer.shift).data);
      const node = { h, w, c, at: room(h * w * c) };
      node.forward = () => nn.affine(input.at, factor, shift, node.at, h * w, c, layer.relu ? 1 : 0);
      return node;
    },
    dense(layer, [input], tensor) {  // a 1 × 1 convolution of an image with a single pixel
      const { shape, data } = tensor(layer.weights), as_kernel = (i) => (i === layer.weights ? { shape: [1, 1, ...shape], data } : tensor(i));
      return KINDS.conv({ ...layer, stride: 1, same: false }, [{ h: 1, w: 1, c: input.h * input.w * input.c, at: input.at }], as_kernel);
    },
    mean(layer, [{ h, w, c, at }]) {
      const node = { h: 1, w: 1, c, at: room(c) };
      node.forward = () => nn.mean(at, node.at, h * w, c);
      return node;
    },
    add(layer, [one, other]) {
      const { h, w, c } = one, node = { h, w, c, at: room(h * w * c) };
      node.forward = () => nn.add(one.at, other.at, node.at, h * w * c);
      return node;
    },
    sigmoid(layer, [{ h, w, c, at }]) {
      const node = { h, w, c, at: room(h * w * c) };
      node.forward = () => floats().set(get(at, h * w * c).map((x) => 1 / (1 + Math.exp(-x))), node.at / 4);
      return node;
    },
  };

  // A network in memory. `layers`: those of its pack, or fewer; `only`: which kernel of the last one is wanted; `gradients`: of its mean.
  function build({ pack, layers, size = pack.size, only, gradients = false }) {
    const start = top, image = { h: size, w: size, c: 3, at: room(size * size * 3) }, nodes = [image];
    const alone = ({ shape, data }) => {  // one kernel, or one bias, of all
      const count = shape[shape.length - 1];
      return { shape: [...shape.slice(0, -1), 1], data: data.filter((_, i) => i % count === only) };
    };
    layers.forEach((layer, i) => {
      const last = only !== undefined && i === layers.length - 1, tensor = (t) => (last ? alone(pack.unpacked[t]) : pack.unpacked[t]);
      nodes.push(KINDS[layer.kind](layer, (layer.of || [i]).map((n) => nodes[n]), tensor, gradients));
    });
    const end = nodes[nodes.length - 1], slope = gradients ? room(end.h * end.w * end.c) : 0;
    const look = (colours, channels) => {  // colours: RGB or RGBA, 0 to 255
      const all = floats(), { scale, shift } = pack;
      for (let i = 0, to = image.at / 4; i < colours.length; i += channels)
        for (let c = 0; c < 3; c++) all[to++] = colours[i + c] * scale[c] + shift[c];
      for (const node of nodes.slice(1)) node.forward();
    };
    return { start, nodes, end, look, climb };

    // One step of gradient ascent for the mean of the last layer's numbers; `picture`, RGB, is changed.
    function climb(picture, rate) {
      look(picture, 3);
      const n = end.h * end.w * end.c, value = get(end.at, n).reduce((sum, x) => sum + x, 0) / n;
      floats().fill(1 / n, slope / 4, slope / 4 + n);
      let g = slope;
      for (const node of nodes.slice(1).reverse()) g = node.backward(g);
      const gradient = get(g, picture.length).map((x, i) => x * pack.scale[i % 3]);
      const rms = Math.sqrt(gradient.reduce((sum, x) => sum + x * x, 0) / gradient.length);
      for (let i = 0; i < picture.length; i++) picture[i] += rate * gradient[i] / (rms + 1e-5);
      return { value, rms, gradient, picture };
    }
  }

  const ACTS = {
    async start({ wasm }) {
      memory = new WebAssembly.Memory({ initial: 16 });
      nn = (await WebAssembly.instantiate(decode(wasm), { env: { memory } })).instance.exports;
      top = (nn.heap() + 15) & ~15;
    },
    async load({ name, pack }) { packs[name] = { ...pack, bytes: null, unpacked: await unpack(pack) }; },
    // Networks lie on top of each other in memory: to open number n is to forget those from n on.
    open({ name, number, layers = packs[name].layers, ...more }) {
      if (networks[number]) top = networks[number].start;
      networks.length = number;
      networks[number] = build({ pack: packs[name], layers, ...more });
    },
    run({ number, pixels }) {
      const { look, end } = networks[number];
      look(pixels, 4);
      return { values: get(end.at, end.h * end.w * end.c) };
    },
    maps({ number, layer }) {  // what a layer gave for the last picture
      const { h, w, c, at } = networks[number].nodes[layer];
      return { h, w, c, values: get(at, h * w * c) };
    },
    silent({ number, picture }) {  // the channels of the last layer that are 0 everywhere for a picture
      const { look, end: { h, w, c, at } } = networks[number];
      look(picture, 3);
      const values = get(at, h * w * c), largest = new Float32Array(c);
      for (let i = 0; i < values.length; i++) largest[i % c] = Math.max(largest[i % c], values[i]);
      return { channels: [...largest.keys()].filter((i) => largest[i] === 0) };
    },
    climb: ({ number, picture, rate }) => networks[number].climb(picture, rate),
    memory: () => ({ bytes: memory.buffer.byteLength, used: top }),
  };
  onmessage = async ({ data: { id, act, ...more } }) => {
    try {
      const started = performance.now(), result = await ACTS[act](more) || {};
      const large = Object.values(result).filter((value) => value instanceof Float32Array).map((value) => value.buffer);
      postMessage({ id, ...result, ms: performance.now() - started }, large);
    } catch (error) {
      postMessage({ id, error: String(error && error.message || error) });
    }
  };
}

// The page's side: LIVE.engine() starts a worker. It is made of its own source, as a page from a disk may load no worker from a file.
LIVE.engine = async () => {
  const address = URL.createObjectURL(new Blob([`(${liveWorker})()`], { type: "text/javascript" }));
  const worker = new Worker(address), waiting = new Map();
  let last = 0;
  worker.onmessage = ({ data }) => {
    const { done, failed } = waiting.get(data.id);
    waiting.delete(data.id);
    data.error ? failed(new Error(data.error)) : done(data);
  };
  worker.onerror = (event) => { for (const { failed } of waiting.values()) failed(new Error(event.message || "the worker did not start")); };
  const ask = (act, more = {}) => new Promise((done, failed) => {
    waiting.set(++last, { done, failed });
    worker.postMessage({ id: last, act, ...more });
  });
  await ask("start", { wasm: WASM });
  URL.revokeObjectURL(address);
  const loaded = {};
  return {
    ask,
    close: () => worker.terminate(),
    // Have the worker unpack a network's weights, once.
    load: (name) => (loaded[name] ||= LIVE.load(name).then((pack) => ask("load", { name, pack }))),
  };
};
