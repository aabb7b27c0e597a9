// The page: it shows what the module says. Everything about GPUs is in Rust (examples/web/src).
import init, { Device, Trainer, activations, formula, groups, report_to, time_layer, verify } from './elbow_web.js';
import { drawing } from './drawing.js';
import { curve } from './curve.js';

const EPOCHS = 30;
// M, N, K; those are left out of which one call would take longer, by the speed of the one before.
const LAYERS = [[64, 256, 256], [256, 512, 512], [512, 512, 512], [1024, 1024, 1024], [4096, 2048, 2048]];
const MOST_SECONDS = 1;

const at = id => document.getElementById(id);
const nextTask = () => new Promise(done => setTimeout(done));

function element(name, text, of = {}) {
  return Object.assign(document.createElement(name), { textContent: text }, of);
}

/** Shows what went wrong; nothing is swallowed. */
function complain(what) {
  const text = what?.message ?? String(what);
  // elbow logs some errors before it returns them.
  if ([...at('errors').children].some(said => said.textContent === text)) return;
  console.error(text);
  at('errors').append(element('p', text));
  at('errors').hidden = false;
}

function none(text) {
  at('gpu').textContent = text;
  at('gpu').dataset.state = 'none';
}

/** What the browser tells of the adapter that elbow has asked for: mostly vendor and architecture. */
async function adapterName() {
  const info = (await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' }))?.info;
  const parts = [info?.vendor, info?.architecture, info?.device, info?.description].filter(Boolean);
  return [...new Set(parts)].join(' ') || 'a GPU that the browser does not name';
}

async function checkAll(device) {
  const verdict = at('verdict');
  verdict.dataset.state = 'waiting';
  at('groups').replaceChildren();
  let checks = 0, failed = 0;
  const names = groups();
  for (const [number, name] of names.entries()) {
    const row = at('groups').insertRow();
    row.append(element('td', name));
    const found = await verify(device, number, async (done, of) => {
      verdict.textContent = `${name}: ${done} of ${of}, group ${number + 1} of ${names.length}`;
      await nextTask();
    });
    checks += found.checks;
    failed += found.failed;
    for (const [text, of] of [
      [found.checks, { className: 'number' }],
      [found.failed, { className: found.failed ? 'number failed' : 'number' }],
      [found.seconds.toFixed(1), { className: 'number' }],
      // The case behind it is long.
      [found.worst.split(',')[0], { className: 'worst', title: found.worst }],
    ]) row.append(element('td', text, of));
    found.wrong.forEach(wrong => complain(`${name}: ${wrong}`));
  }
  verdict.dataset.state = failed ? 'wrong' : 'right';
  verdict.textContent = failed
    ? `${checks} checks, ${failed} failed: do not trust this GPU with this browser`
    : `${checks} checks, all right`;
}

async function timeAll(device) {
  at('layers').replaceChildren();
  let speed = Infinity;
  for (const [m, n, k] of LAYERS) {
    const row = at('layers').insertRow();
    row.append(element('td', `${m} × ${n} × ${k}`));
    if (6 * m * n * k / speed > MOST_SECONDS) {
      row.append(element('td', 'left out: more than a second a call', { colSpan: 3 }));
      continue;
    }
    await nextTask();
    const timed = await time_layer(device, m, n, k);
    speed = timed.operations;
    const time = seconds => seconds < 1 ? `${(1e3 * seconds).toPrecision(3)} ms` : `${seconds.toPrecision(3)} s`;
    for (const text of [time(timed.first), time(timed.seconds), (timed.operations / 1e9).toPrecision(3)]) {
      row.append(element('td', text, { className: 'number' }));
    }
  }
}

/** Trains until it is done or somebody stops it. */
class Training {
  trainer = null;
  running = false;
  stopping = false;

  constructor(device, changed) {
    this.device = device;
    this.changed = changed;
    this.curve = curve(at('curve'));
  }

  async run() {
    this.running = true;
    this.stopping = false;
    at('start').textContent = 'Stop';
    this.curve.clear(EPOCHS);
    ['accuracy', 'loss', 'epoch', 'steps'].forEach(id => { at(id).textContent = '–'; });
    at('silent').replaceChildren();
    try {
      const [activation, storage] = [at('activation').value, at('storage').value];
      this.trainer?.free();
      this.trainer = null;
      this.trainer = await Trainer.create(
        this.device, activation, Number(at('width').value), storage, Number(at('rate').value), EPOCHS);
      while (!this.stopping && this.trainer.epochs_done < EPOCHS) {
        this.show(await this.trainer.epoch());
        await this.changed();
        await nextTask();
      }
    } catch (error) {
      complain(error);
    } finally {
      this.running = false;
      at('start').textContent = 'Train again';
    }
  }

  show({ loss, accuracy, silent, steps, seconds }) {
    this.curve.add(loss, accuracy);
    at('accuracy').textContent = `${(100 * accuracy).toFixed(1)} %`;
    at('loss').textContent = loss.toPrecision(3);
    at('epoch').textContent = `${this.trainer.epochs_done} of ${EPOCHS}`;
    at('steps').textContent = (steps / seconds).toPrecision(3);
    const name = this.trainer.silent_is_dead ? 'dead units' : 'units that are never positive';
    const units = this.trainer.units;
    at('silent').replaceChildren(...[...silent].map((count, layer) => {
      const line = element('div', '', { className: 'units' });
      line.append(
        element('span', `${name}, hidden layer ${layer + 1}`),
        element('span', `${count} of ${units[layer]}`),
        Object.assign(document.createElement('meter'), { max: units[layer], value: count }));
      return line;
    }));
  }
}

async function main() {
  if (!navigator.gpu) {
    const why = isSecureContext ? '' : ' It is offered only to pages from https or localhost; this one is from neither.';
    none(`This browser has no WebGPU, so elbow can't reach the GPU.${why} Chrome and Edge 113, Safari 26 and Firefox 141 have it on most systems; on Linux it may have to be switched on.`);
    return;
  }
  await init();
  report_to(complain);
  let device;
  try {
    // For tests: ?class=integrated gives a software adapter the kernels of a laptop's GPU.
    device = await Device.open(new URLSearchParams(location.search).get('class') ?? undefined);
  } catch (error) {
    none('This browser knows WebGPU, but gave elbow no GPU to work with.');
    complain(error);
    return;
  }
  const name = await adapterName();
  at('gpu').textContent = name;
  at('gpu').title = device.line();
  at('gpu').dataset.state = 'found';
  at('software').hidden = !device.software;
  at('main').hidden = false;

  at('activation').append(...activations().map(name => element('option', name, { value: name, selected: name === 'relu' })));
  const chosen = () => { at('formula').textContent = `y = ${formula(at('activation').value)}`; };
  at('activation').addEventListener('change', chosen);
  chosen();
  at('f16').textContent = device.native_f16
    ? 'This browser has f16 in shaders (shader-f16).'
    : 'This browser has no f16 in shaders: elbow packs f16 in pairs.';

  const board = drawing(at('board'), at('seen'), at('digits'), async pixels => training.trainer?.probabilities(pixels));
  const training = new Training(device, board.look);
  at('clear').addEventListener('click', board.clear);

  // One thing at a time: two would spoil each other's times.
  const buttons = [at('again'), at('time'), at('start')];
  const alone = async work => {
    buttons.forEach(button => { button.disabled = true; });
    try {
      await work();
    } catch (error) {
      complain(error);
    } finally {
      buttons.forEach(button => { button.disabled = false; });
    }
  };
  const train = () => alone(async () => {
    const run = training.run();
    at('start').disabled = false;
    await run;
  });
  at('again').addEventListener('click', () => alone(() => checkAll(device)));
  at('time').addEventListener('click', () => alone(() => timeAll(device)));
  at('choices').addEventListener('submit', event => {
    event.preventDefault();
    if (training.running) training.stopping = true;
    else train();
  });
  await alone(() => checkAll(device));
  await alone(() => timeAll(device));
  await train();
}

main().catch(error => {
  if (at('gpu').dataset.state === 'waiting') none('This page could not start.');
  complain(error);
});
