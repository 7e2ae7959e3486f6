// SPDX-License-Identifier: Apache-2.0
// What programs of Node.js do with sockets: web.js server ADDRESS PORT | client URL | self
// "self" prints the same on every kernel.
'use strict';
const crypto = require('crypto'), dgram = require('dgram'), http = require('http'), net = require('net');
const { once } = require('events');

const BLOCK = Buffer.from(Array.from({ length: 65536 }, (_, i) => i * i >> 3 & 255));
const BLOCKS = 64, REQUESTS = 100;

function large(response) {
	const digest = crypto.createHash('sha256');
	let i = 0;
	response.setHeader('Trailer', 'Digest');
	const more = () => {
		while (i++ < BLOCKS) {
			digest.update(BLOCK);
			if (!response.write(BLOCK))
				return response.once('drain', more);
		}
		response.addTrailers({ Digest: digest.digest('hex') });
		response.end();
	};
	more();
}

const serve = () => http.createServer((request, response) =>
	request.url === '/echo' ? request.pipe(response) : large(response));

async function listening(server, port, address) {
	server.listen(port, address);
	await once(server, 'listening');
	return server.address().port;
}

function ask(url, options, body) {
	return new Promise((resolve, reject) => {
		const request = http.request(url, options, response => {
			const parts = [];
			response.on('data', part => parts.push(part));
			response.on('end', () => resolve([Buffer.concat(parts), response.trailers]));
		});
		request.on('error', reject);
		request.end(body);
	});
}

async function client(base) {
	const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
	const bodies = Array.from({ length: REQUESTS }, (_, i) => `${i} ` + 'x'.repeat(i * 397));
	const answers = await Promise.all(bodies.map(body => ask(base + '/echo', { method: 'POST', agent }, body)));
	console.log('echoes', answers.filter(([data], i) => data.toString() === bodies[i]).length);
	const [data, trailers] = await ask(base + '/large', { agent });
	console.log('large', data.length, crypto.createHash('sha256').update(data).digest('hex') === trailers.digest);
	agent.destroy();
}

const errorOf = socket => new Promise(resolve => socket.on('error', e => resolve(e.code)));

async function ends() {
	const server = net.createServer({ allowHalfOpen: true }, s => {
		let n = 0;
		s.on('data', data => n += data.length).on('end', () => s.end('got ' + n));
	});
	const c = net.connect({ port: await listening(server, 0, '::1'), host: '::1', allowHalfOpen: true });
	c.end(Buffer.alloc(100000));
	console.log('half close:', String(await once(c, 'data')));
	server.close();
	const resetting = net.createServer(s => s.resetAndDestroy());
	const r = net.connect(await listening(resetting, 0, '127.0.0.1'), '127.0.0.1');
	r.resume();
	console.log('reset:', await errorOf(r));
	resetting.close();
	console.log('refused:', await errorOf(net.connect(1, '127.0.0.1')));
	const silent = net.connect(80, '192.0.2.9');
	await once(silent.setTimeout(300), 'timeout');
	silent.destroy();
	console.log('timeout');
}

async function datagrams(type, host) {
	const echo = dgram.createSocket(type), s = dgram.createSocket(type);
	let good = 0;
	echo.on('message', (data, from) => echo.send(data, from.port, from.address));
	echo.bind(0, host);
	await once(echo, 'listening');
	for (const n of [0, 1, 1400, 20000, 65507]) {
		s.send(Buffer.alloc(n), echo.address().port, host);
		const [data, from] = await once(s, 'message');
		good += data.length === n && from.port === echo.address().port;
	}
	console.log(type, good);
	echo.close();
	s.close();
}

async function both() {
	const server = net.createServer(s => s.end(s.remoteAddress));
	const port = await listening(server, 0);
	for (const host of ['127.0.0.1', '::1'])
		console.log('from', String(await once(net.connect(port, host), 'data')));
	server.close();
}

async function self() {
	const server = serve();
	await client('http://127.0.0.1:' + await listening(server, 0, '127.0.0.1'));
	server.close();
	await ends();
	await datagrams('udp4', '127.0.0.1');
	await datagrams('udp6', '::1');
	await both();
}

const [mode, where, port] = process.argv.slice(2);
if (mode === 'server')
	listening(serve(), Number(port), where).then(() => console.log('ready'));
else
	(mode === 'client' ? client(where) : self()).catch(e => {
		console.log(e);
		process.exit(1);
	});
