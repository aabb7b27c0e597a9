// node test.mjs [SCREENSHOTS]: the page in headless Chromium on its software adapter (SwiftShader), driven by playwright-core.
// Fails if the page does not say what it should, if a number is wrong, or if the network does not learn.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { mkdirSync } from 'node:fs';
import { chromium } from 'playwright-core';

const FOLDER = join(import.meta.dirname, 'dist');
const SCREENSHOTS = process.argv[2] ?? join(import.meta.dirname, 'screenshots');
const MINUTES = 60_000;
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm' };

const server = createServer(async (request, answer) => {
  const path = new URL(request.url, 'http://localhost').pathname;
  try {
    const body = await readFile(join(FOLDER, path === '/' ? 'index.html' : path));
    answer.writeHead(200, { 'content-type': TYPES[extname(path || '.html')] ?? 'text/html' }).end(body);
  } catch {
    answer.writeHead(404).end();
  }
});
await new Promise(done => server.listen(0, '127.0.0.1', done));
const address = `http://127.0.0.1:${server.address().port}/`;
mkdirSync(SCREENSHOTS, { recursive: true });

const launch = (...flags) => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless=new', '--no-sandbox', ...flags],
});

const failures = [];
function check(name, holds, got) {
  console.log(`${holds ? 'good ' : 'WRONG'} ${name}${got === undefined ? '' : `: ${got}`}`);
  if (!holds) failures.push(name);
}

/** A page with what it said on the console; `before` runs in it before its own scripts. */
async function open(browser, size, before, argument, query = '') {
  const page = await (await browser.newContext({ viewport: size })).newPage();
  const said = [];
  page.on('console', message => { if (message.type() === 'error') said.push(message.text()); });
  page.on('pageerror', error => said.push(error.message));
  if (before) await page.addInitScript(before, argument);
  await page.goto(address + query);
  return { page, said, text: id => page.locator(`#${id}`).innerText() };
}

const state = (page, id, ...states) =>
  page.waitForFunction(([id, states]) => states.includes(document.getElementById(id).dataset.state), [id, states],
    { timeout: 10 * MINUTES });
const idle = page => page.waitForFunction(() => !document.getElementById('again').disabled && !document.getElementById('start').disabled,
  null, { timeout: 10 * MINUTES });

/** Draws with the mouse, in shares of the board. */
async function draw(page, points) {
  await page.locator('#clear').click();
  await page.locator('#board').scrollIntoViewIfNeeded();
  const { x, y, width, height } = await page.locator('#board').boundingBox();
  const at = ([a, b]) => [x + a * width, y + b * height];
  await page.mouse.move(...at(points[0]));
  await page.mouse.down();
  for (const point of points.slice(1)) await page.mouse.move(...at(point), { steps: 2 });
  await page.mouse.up();
  await page.waitForTimeout(500);
}

const browser = await launch('--enable-unsafe-webgpu');
try {
  const began = Date.now();
  const since = () => `${((Date.now() - began) / 1000).toFixed(1)} s`;
  const { page, said, text } = await open(browser, { width: 1280, height: 900 });
  await state(page, 'gpu', 'found', 'none');
  check('it says which GPU', /swiftshader/i.test(await text('gpu')), `${await text('gpu')} (after ${since()})`);
  check('a CPU that plays GPU is called that', await page.locator('#software').isVisible());
  await state(page, 'verdict', 'right', 'wrong');
  check('its numbers are right', /^\d+ checks, all right$/.test(await text('verdict')), `${await text('verdict')} (after ${since()})`);
  console.log(await text('groups'));
  await page.waitForFunction(() => /of \d+/.test(document.getElementById('epoch').textContent), null, { timeout: 10 * MINUTES });
  console.log(await text('layers'));
  const rates = await page.locator('#layers tr td:nth-child(4)').allInnerTexts();
  check('layers are timed', rates.length >= 2 && rates.every(rate => Number(rate) > 0), `${rates.join(', ')} GFLOP/s (after ${since()})`);
  await idle(page);
  const accuracy = Number.parseFloat(await text('accuracy'));
  check('it learns: accuracy at least 90 %', accuracy >= 90, `${await text('accuracy')}, loss ${await text('loss')}, epoch ${await text('epoch')}, ${await text('steps')} steps/s (after ${since()})`);
  check('dead units of both hidden layers are counted', (await page.locator('#silent .units').count()) === 2 && /dead units/.test(await text('silent')), (await text('silent')).replaceAll('\n', ' '));
  const circle = Array.from({ length: 25 }, (_, i) => [0.5 + 0.2 * Math.sin(i * Math.PI / 12), 0.5 - 0.33 * Math.cos(i * Math.PI / 12)]);
  await draw(page, circle);
  check('a drawn 0 is a 0', (await page.locator('#digits .best span').first().innerText()) === '0', (await text('digits')).replaceAll('\n', ' '));
  await page.screenshot({ path: join(SCREENSHOTS, 'desk.png'), fullPage: true });
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForTimeout(300);
  check('nothing is wider than a phone', await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await page.screenshot({ path: join(SCREENSHOTS, 'phone.png'), fullPage: true });
  check('no error was said', said.length === 0, said.join('\n') || undefined);

  // Narrow storage, another activation; and a stop.
  await page.selectOption('#activation', 'prelu');
  await page.selectOption('#storage', 'f16');
  await page.locator('#start').click();
  await page.waitForFunction(() => Number.parseInt(document.getElementById('epoch').textContent) >= 8
    && document.getElementById('start').textContent === 'Stop', null, { timeout: 10 * MINUTES });
  await page.locator('#start').click();
  await idle(page);
  check('prelu in f16 learns too, and stops when told', Number.parseFloat(await text('accuracy')) >= 90 && !(await text('epoch')).startsWith('30 '),
    `${await text('accuracy')}, epoch ${await text('epoch')}; ${(await text('silent')).replaceAll('\n', ' ')}`);
  check('what a prelu leaves behind is not called dead', !/dead units/.test(await text('silent')));
  check('still no error', said.length === 0, said.join('\n') || undefined);
  await page.context().close();
} catch (error) {
  check('the page comes to its end', false, error.message);
}

// A device that is lost while the page trains: said, not swallowed.
try {
  const { page, text } = await open(browser, { width: 1280, height: 900 }, () => {
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...of) { return globalThis.device = await request.apply(this, of); };
  });
  await state(page, 'gpu', 'found');
  await page.evaluate(() => globalThis.device.destroy());
  await page.locator('#errors').waitFor({ timeout: 2 * MINUTES });
  check('a lost device is said', /lost/i.test(await text('errors')), (await text('errors')).split('\n')[0]);
  await page.context().close();
} catch (error) {
  check('a lost device is said', false, error.message);
}

// The kernels of a laptop's GPU, where a browser says no more than that there is a GPU.
try {
  const { page, said, text } = await open(browser, { width: 1280, height: 900 }, null, null, '?class=integrated');
  await state(page, 'verdict', 'right', 'wrong');
  check("the numbers of a laptop's kernels are right", /^\d+ checks, all right$/.test(await text('verdict')), await text('verdict'));
  check('with them no error was said', said.length === 0, said.join('\n') || undefined);
  await page.context().close();
} catch (error) {
  check("the numbers of a laptop's kernels are right", false, error.message);
}

// Drivers that compute wrong numbers: a defect in the kernels' text, which the browser compiles without complaint.
for (const [name, text, wrong] of [
  ['a last tile that is skipped', 'number >= P.tiles)', 'number + 1u >= P.tiles)'],
  ['a slope that is always 1', 'fn act0_dz(z: f32, p: vec2<f32>) -> f32 {', 'fn act0_dz(z: f32, p: vec2<f32>) -> f32 { if (z < 1e38) { return 1.0; }'],
]) {
  try {
    const { page, text: shown } = await open(browser, { width: 1280, height: 900 }, ([text, wrong]) => {
      const create = GPUDevice.prototype.createShaderModule;
      globalThis.planted = 0;
      GPUDevice.prototype.createShaderModule = function (of) {
        globalThis.planted += of.code.includes(text);
        return create.call(this, { ...of, code: of.code.replaceAll(text, wrong) });
      };
    }, [text, wrong]);
    await page.waitForFunction(() => document.getElementById('gpu').dataset.state === 'none'
      || ['right', 'wrong'].includes(document.getElementById('verdict').dataset.state), null, { timeout: 10 * MINUTES });
    const refused = await page.locator('#gpu').getAttribute('data-state') === 'none';
    const planted = await page.evaluate(() => globalThis.planted);
    check(`${name} is found`, planted > 0 && (refused || /do not trust/.test(await shown('verdict'))), `in ${planted} kernels; ` + await shown(refused ? 'errors' : 'verdict'));
    await page.context().close();
  } catch (error) {
    check(`${name} is found`, false, error.message);
  }
}
await browser.close();

// Without WebGPU, and with WebGPU but no adapter.
for (const [name, flags, before, expected] of [
  ['without WebGPU the page says so', ['--enable-unsafe-webgpu'], () => Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined }), /no WebGPU/],
  ['without an adapter the page says so', ['--enable-unsafe-webgpu'], () => { GPU.prototype.requestAdapter = async () => null; }, /no GPU/],
  ['a browser as it is says something', [], null, /WebGPU|swiftshader/i],
]) {
  const browser = await launch(...flags);
  const { page, text } = await open(browser, { width: 390, height: 844 }, before);
  await state(page, 'gpu', 'none', 'found').catch(() => {});
  check(name, expected.test(await text('gpu')), await text('gpu'));
  if (before) await page.screenshot({ path: join(SCREENSHOTS, `${name.replaceAll(' ', '-')}.png`) });
  await browser.close();
}

server.close();
console.log(failures.length ? `${failures.length} WRONG: ${failures.join('; ')}` : 'all good');
process.exit(failures.length ? 1 : 0);
