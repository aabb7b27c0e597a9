// Loss and accuracy over epochs, in one picture.

/** Draws on a canvas of any size, sharp on any screen. */
export function curve(canvas) {
  let epochs = 1, losses = [], accuracies = [];

  function draw() {
    const { clientWidth: width, clientHeight: height } = canvas, dense = devicePixelRatio;
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    const context = canvas.getContext('2d'), style = getComputedStyle(canvas);
    const color = name => {
      // A canvas knows no light-dark(): a property that is a color does.
      canvas.style.color = `var(${name})`;
      return style.color;
    };
    const [line, soft, second, good] = ['--line', '--soft', '--second', '--good'].map(color);
    context.scale(dense, dense);
    context.font = `11px ${style.fontFamily}`;
    const left = 34, right = width - 44, top = 8, bottom = height - 18;
    const finite = losses.filter(Number.isFinite), most = Math.max(0.1, ...finite);
    const x = epoch => left + (right - left) * epoch / epochs;
    const y = share => bottom - (bottom - top) * share;
    context.lineWidth = 1;
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      context.strokeStyle = line;
      context.beginPath();
      context.moveTo(left, y(share));
      context.lineTo(right, y(share));
      context.stroke();
      context.textBaseline = 'middle';
      context.textAlign = 'right';
      context.fillStyle = second;
      context.fillText((most * share).toPrecision(2), left - 5, y(share));
      context.textAlign = 'left';
      context.fillStyle = good;
      context.fillText(`${100 * share} %`, right + 5, y(share));
    }
    context.fillStyle = soft;
    context.textBaseline = 'alphabetic';
    context.textAlign = 'center';
    context.fillText('1', x(1), height - 4);
    context.fillText(`epoch ${epochs}`, x(epochs) - 12, height - 4);
    for (const [values, of, color] of [[losses, most, second], [accuracies, 1, good]]) {
      context.strokeStyle = context.fillStyle = color;
      context.lineWidth = 2;
      context.beginPath();
      values.forEach((value, i) => { if (Number.isFinite(value)) context.lineTo(x(i + 1), y(value / of)); });
      context.stroke();
      if (values.length > 0 && Number.isFinite(values.at(-1))) {
        context.beginPath();
        context.arc(x(values.length), y(values.at(-1) / of), 3, 0, 7);
        context.fill();
      }
    }
  }

  new ResizeObserver(draw).observe(canvas);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  return {
    clear(of) {
      [epochs, losses, accuracies] = [of, [], []];
      draw();
    },
    add(loss, accuracy) {
      losses.push(loss);
      accuracies.push(accuracy);
      draw();
    },
  };
}
