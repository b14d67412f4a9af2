// The picture that moves: a clip, where the model looks, and what it answers, frame by frame.
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const bytes = Uint8Array.from(atob(data.frames), (letter) => letter.charCodeAt(0));
const [height, width] = data.size;
const [times, rows, columns] = data.grid;
const pictures = ['clip', 'look'].map((name) => document.getElementById(name).getContext('2d'));

const bars = data.labels.map((label) => {
    const item = document.createElement('li');
    item.innerHTML = '<span class="what"></span><span class="track"><span class="fill"></span></span>';
    item.querySelector('.what').textContent = label;
    document.getElementById('answers').append(item);
    return item;
});

const draw = (frame) => {
    const count = data.answers.length;
    const time = Math.min(times - 1, Math.floor((frame * times) / count));
    const images = pictures.map((context) => context.createImageData(width, height));
    for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
            const place = Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width);
            const share = 0.12 + 0.88 * (data.looks[frame][time * rows * columns + place] / 255);
            for (let c = 0; c < 3; c++) {
                const value = bytes[((frame * height + y) * width + x) * 3 + c];
                images[0].data[(y * width + x) * 4 + c] = value;
                images[1].data[(y * width + x) * 4 + c] = value * share;
            }
            images[0].data[(y * width + x) * 4 + 3] = images[1].data[(y * width + x) * 4 + 3] = 255;
        }
    }
    pictures.forEach((context, k) => context.putImageData(images[k], 0, 0));
    document.getElementById('frame').textContent = `frame ${frame + 1} of ${count}`;
    const answers = data.answers[frame];
    const best = answers.indexOf(Math.max(...answers));
    bars.forEach((item, k) => {
        item.className = k === best ? 'best' : '';
        item.querySelector('.fill').style.width = `${100 * answers[k]}%`;
    });
};

const last = data.answers.length - 1;
const HOLD = 4; // beats that the first and the last frame stay
let beat = 0;
const step = () => {
    const around = (beat++) % (last + 1 + 2 * HOLD);
    draw(Math.max(0, Math.min(last, around - HOLD)));
};

const button = document.getElementById('pause');
let timer = null;
const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(step, 420) : null;
    button.textContent = on ? 'Pause' : 'Play';
};
button.addEventListener('click', () => play(timer === null));
if (matchMedia('(prefers-reduced-motion: reduce)').matches) {
    draw(last);
    play(false);
} else {
    draw(0);
    play(true);
}
