// What the networks of the live figures compute: the layers of a convolutional network and their gradients, for one image.
//
// An image, or the feature maps of a layer, is a list of float32 in the order in which one reads: row by row, in each row pixel by
// pixel, in each pixel channel by channel. So the number at (row y, column x, channel c) is a[(y * width + x) * channels + c].
// There is no library below this file, not even C's own: it is compiled to WebAssembly (see live.py), and engine.js, which calls
// it, decides where in memory the lists lie. A processor adds and multiplies four float32 at once ("SIMD"); `four` is four of them.
#include <wasm_simd128.h>

typedef v128_t four;
#define EXPORT(name) __attribute__((export_name(#name)))

static inline four load(const float *a) { return wasm_v128_load(a); }
static inline void store(float *a, four x) { wasm_v128_store(a, x); }
static inline four all(float x) { return wasm_f32x4_splat(x); }
static inline four add4(four a, four b) { return wasm_f32x4_add(a, b); }
static inline four mul4(four a, four b) { return wasm_f32x4_mul(a, b); }
static inline four larger(four a, four b) { return wasm_f32x4_pmax(a, b); }

// The first byte of memory that the compiler has not taken for itself.
extern unsigned char __heap_base;
EXPORT(heap) int heap(void) { return (int)&__heap_base; }

// --- convolution ------------------------------------------------------------------------------------------------------------
//
// A convolution with `co` kernels is one long sum for each place and each kernel: over the kernel's rows, its columns and the
// channels that come in, k = kh * kw * ci products. Keras keeps the weights so that the co weights that meet the same number lie side
// by side. Eight sums at a time want theirs so, eight by eight: pack() makes panels of eight kernels, filled up with zeros.
EXPORT(pack) void pack(const float *weights, float *packed, int k, int co) {
  for (int first = 0; first < co; first += 8)
    for (int i = 0; i < k; i++)
      for (int j = first; j < first + 8; j++) *packed++ = j < co ? weights[i * co + j] : 0;
}

// The gradient of a convolution with respect to its image is a convolution, too: a number of the image took part in the sums of all
// places around it, each time with another weight, and its gradient collects what came of it. Seen from there the kernel is
// turned by 180 degrees, and channels that came in and channels that went out have changed places. Nothing else changes, so
// engine.js calls conv() on the gradient that comes from behind, padded with zeros, with the weights packed in this way.
EXPORT(pack_turned) void pack_turned(const float *weights, float *packed, int kh, int kw, int ci, int co) {
  for (int first = 0; first < ci; first += 8)
    for (int y = kh - 1; y >= 0; y--)
      for (int x = kw - 1; x >= 0; x--)
        for (int o = 0; o < co; o++)
          for (int j = first; j < first + 8; j++) *packed++ = j < ci ? weights[((y * kw + x) * ci + j) * co + o] : 0;
}

// out[y, x, c] = bias[c] + sum over r, s, i of image[y * stride + r, x * stride + s, i] * weights[r, s, i, c], below 0 cut off if `relu`.
//
// The loops are in this order because memory is slow: a panel of weights is read once for four neighbouring places, so that each
// load serves eight multiplications, and the 4 x 8 sums stay in the processor's registers until they are complete.
//   image: any height x `width` x ci, padded already; packed: from pack(); bias: co numbers or 0 for none; out: ho x wo x co.
EXPORT(conv)
void conv(const float *image, int width, int ci, const float *packed, const float *bias, float *out, int ho, int wo, int co,
          int kh, int kw, int stride, int relu) {
  const int run = kw * ci;  // a row of the window lies in one piece in memory
  for (int y = 0; y < ho; y++)
    for (int c = 0; c < co; c += 8) {
      const float *panel = packed + c * kh * run;
      float b[8];
      for (int j = 0; j < 8; j++) b[j] = bias && c + j < co ? bias[c + j] : 0;
      for (int x = 0; x < wo; x += 4) {
        const int places = wo - x < 4 ? wo - x : 4;  // at the right border fewer: then some are computed twice and not stored
        const float *corner = image + (y * stride * width + x * stride) * ci;
        const int to1 = (places > 1 ? 1 : 0) * stride * ci, to2 = (places > 2 ? 2 : 0) * stride * ci, to3 = (places > 3 ? 3 : 0) * stride * ci;
        four a0 = load(b), a1 = load(b + 4), b0 = a0, b1 = a1, c0 = a0, c1 = a1, d0 = a0, d1 = a1;  // the sums of places a, b, c, d
        const float *w = panel;
        for (int r = 0; r < kh; r++) {
          const float *in = corner + r * width * ci;
          for (int i = 0; i < run; i++, in++, w += 8) {
            const four w0 = load(w), w1 = load(w + 4);
            four value = wasm_v128_load32_splat(in);
            a0 = add4(a0, mul4(value, w0)); a1 = add4(a1, mul4(value, w1));
            value = wasm_v128_load32_splat(in + to1);
            b0 = add4(b0, mul4(value, w0)); b1 = add4(b1, mul4(value, w1));
            value = wasm_v128_load32_splat(in + to2);
            c0 = add4(c0, mul4(value, w0)); c1 = add4(c1, mul4(value, w1));
            value = wasm_v128_load32_splat(in + to3);
            d0 = add4(d0, mul4(value, w0)); d1 = add4(d1, mul4(value, w1));
          }
        }
        four left[4] = {a0, b0, c0, d0}, right[4] = {a1, b1, c1, d1};
        for (int place = 0; place < places; place++) {
          float *o = out + (y * wo + x + place) * co + c, sums[8];
          store(sums, relu ? larger(all(0), left[place]) : left[place]);
          store(sums + 4, relu ? larger(all(0), right[place]) : right[place]);
          for (int j = 0; j < 8 && c + j < co; j++) o[j] = sums[j];
        }
      }
    }
}

// Each channel convolved alone; weights kh x kw x channels, as in Keras; channels is a multiple of 4. out: ho x wo x channels.
EXPORT(depthwise)
void depthwise(const float *image, int width, int channels, const float *weights, float *out, int ho, int wo, int kh, int kw, int stride) {
  for (int y = 0; y < ho; y++)
    for (int x = 0; x < wo; x++)
      for (int c = 0; c < channels; c += 4) {
        four sum = all(0);
        for (int r = 0; r < kh; r++)
          for (int s = 0; s < kw; s++) {
            const float *in = image + ((y * stride + r) * width + x * stride + s) * channels + c;
            sum = add4(sum, mul4(load(in), load(weights + (r * kw + s) * channels + c)));
          }
        store(out + (y * wo + x) * channels + c, sum);
      }
}

// --- pooling ----------------------------------------------------------------------------------------------------------------

// The largest number of each k x k window, channel by channel; channels is a multiple of 4. out: ho x wo x channels.
EXPORT(maxpool) void maxpool(const float *image, int width, int channels, float *out, int ho, int wo, int k, int stride) {
  for (int y = 0; y < ho; y++)
    for (int x = 0; x < wo; x++)
      for (int c = 0; c < channels; c += 4) {
        four best = all(-3.4e38f);
        for (int r = 0; r < k; r++)
          for (int s = 0; s < k; s++) best = larger(best, load(image + ((y * stride + r) * width + x * stride + s) * channels + c));
        store(out + (y * wo + x) * channels + c, best);
      }
}

// Its gradient, for windows of 2 x 2 side by side: only the largest number of a window had a say, so it alone gets the gradient; the
// first of them if several are equal. image: height x width x channels; behind: half as high and wide; ahead: like image.
EXPORT(maxpool_gradient) void maxpool_gradient(const float *image, const float *behind, float *ahead, int height, int width, int channels) {
  for (int i = 0; i < height * width * channels; i++) ahead[i] = 0;
  for (int y = 0; y < height / 2; y++)
    for (int x = 0; x < width / 2; x++)
      for (int c = 0; c < channels; c++) {
        const int first = (2 * y * width + 2 * x) * channels + c, others[3] = {first + channels, first + width * channels, first + (width + 1) * channels};
        int best = first;
        for (int i = 0; i < 3; i++) if (image[others[i]] > image[best]) best = others[i];
        ahead[best] = behind[(y * (width / 2) + x) * channels + c];
      }
}

// The mean of each feature map: global average pooling.
EXPORT(mean) void mean(const float *image, float *out, int pixels, int channels) {
  for (int c = 0; c < channels; c++) {
    float sum = 0;
    for (int p = 0; p < pixels; p++) sum += image[p * channels + c];
    out[c] = sum / pixels;
  }
}

// --- number by number -------------------------------------------------------------------------------------------------------

// The gradient of a ReLU, in place: where it had cut off, nothing passes. out: what the ReLU gave, n numbers.
EXPORT(relu_gradient) void relu_gradient(const float *out, float *gradient, int n) {
  for (int i = 0; i < n; i++) gradient[i] = out[i] > 0 ? gradient[i] : 0;
}

// Each channel times its factor plus its shift, below 0 cut off if `relu`: what is left of batch normalisation after training.
EXPORT(affine) void affine(const float *image, const float *factor, const float *shift, float *out, int pixels, int channels, int relu) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c += 4) {
      const four x = add4(mul4(load(image + p * channels + c), load(factor + c)), load(shift + c));
      store(out + p * channels + c, relu ? larger(all(0), x) : x);
    }
}

// out = a + b, n numbers.
EXPORT(add) void add(const float *a, const float *b, float *out, int n) {
  for (int i = 0; i < n; i++) out[i] = a[i] + b[i];
}

// Copy an image into a larger one that is filled with `value`: so windows may reach beyond the border.
EXPORT(pad) void pad(const float *image, float *larger_image, int height, int width, int channels, int top, int left, int high, int wide, float value) {
  for (int i = 0; i < high * wide * channels; i++) larger_image[i] = value;
  for (int y = 0; y < height; y++)
    for (int i = 0; i < width * channels; i++) larger_image[((y + top) * wide + left) * channels + i] = image[y * width * channels + i];
}
