// A board to draw a digit on, by mouse, pen or finger, and what the network makes of it.

const SIDE = 32, PIXELS = 8;

/** The strokes as the data's images were made: the digit fills a bitmap of 32×32, and a pixel counts the dots of a 4×4 block. */
function pixelsOf(strokes) {
  const points = strokes.flat();
  const [xs, ys] = [points.map(p => p[0]), points.map(p => p[1])];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const pen = 4, scale = (SIDE - pen) / Math.max(right - left, bottom - top, 1);
  const bitmap = new OffscreenCanvas(SIDE, SIDE), context = bitmap.getContext('2d', { willReadFrequently: true });
  context.translate(SIDE / 2, SIDE / 2);
  context.scale(scale, scale);
  context.translate(-(left + right) / 2, -(top + bottom) / 2);
  stroke(context, strokes, pen / scale, '#000');
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  const pixels = new Float32Array(PIXELS * PIXELS), block = SIDE / PIXELS;
  for (let row = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      pixels[Math.floor(row / block) * PIXELS + Math.floor(column / block)] += data[4 * (row * SIDE + column) + 3] > 127;
    }
  }
  return pixels;
}

function stroke(context, strokes, width, color) {
  Object.assign(context, { lineWidth: width, lineCap: 'round', lineJoin: 'round', strokeStyle: color });
  for (const [first, ...rest] of strokes) {
    context.beginPath();
    context.moveTo(...first);
    // A dot is a line to itself.
    [first, ...rest].forEach(point => context.lineTo(...point));
    context.stroke();
  }
}

/** `probabilities(pixels)` gives ten numbers, or undefined where no network has been trained yet. */
export function drawing(board, seen, list, probabilities) {
  const strokes = [];
  let current = null, looking = false, again = false;
  const rows = Array.from({ length: 10 }, (_, digit) => {
    const row = document.createElement('li');
    const [name, bar, share] = ['span', 'div', 'span'].map(tag => document.createElement(tag));
    name.textContent = digit;
    bar.className = 'bar';
    share.textContent = '–';
    row.append(name, bar, share);
    list.append(row);
    return { row, bar, share };
  });

  function show(all) {
    const best = all?.indexOf(Math.max(...all));
    rows.forEach(({ row, bar, share }, digit) => {
      row.className = digit === best ? 'best' : '';
      bar.style.setProperty('--share', all ? `${100 * all[digit]}%` : '0%');
      share.textContent = all ? `${(100 * all[digit]).toFixed(1)} %` : '–';
    });
  }

  function draw() {
    const context = board.getContext('2d');
    context.clearRect(0, 0, board.width, board.height);
    stroke(context, strokes, 20, getComputedStyle(board).color);
    const pixels = strokes.length ? pixelsOf(strokes) : new Float32Array(PIXELS * PIXELS);
    const image = new ImageData(PIXELS, PIXELS);
    pixels.forEach((value, i) => image.data.set([128, 128, 128, Math.round(value * 255 / 16)], 4 * i));
    seen.getContext('2d').putImageData(image, 0, 0);
    return pixels;
  }

  /** One question at a time; the last drawing is always asked about. */
  async function look() {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    try {
      do {
        again = false;
        const pixels = draw();
        show(strokes.length > 0 ? await probabilities(pixels) : undefined);
      } while (again);
    } finally {
      looking = false;
    }
  }

  const point = event => {
    const box = board.getBoundingClientRect();
    return [(event.clientX - box.left) * board.width / box.width, (event.clientY - box.top) * board.height / box.height];
  };
  board.addEventListener('pointerdown', event => {
    board.setPointerCapture(event.pointerId);
    current = [point(event)];
    strokes.push(current);
    look();
  });
  board.addEventListener('pointermove', event => {
    if (!current) return;
    current.push(point(event));
    look();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  const up = () => { current = null; };
  board.addEventListener('pointerup', up);
  board.addEventListener('pointercancel', up);
  return {
    look,
    clear() {
      strokes.length = 0;
      return look();
    },
  };
}
