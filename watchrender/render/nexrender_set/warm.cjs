'use strict'
// Loads nexrender, says so, and waits for its one job: a line of JSON on stdin. Until then it does nothing; when its
// input ends without a job (the service is gone, or wants it no more) it ends. Then everything is as if node had been
// started with the job's own words: arguments, folder, environment, and no input.

const fs = require('fs')
const Module = require('module')

const bin = process.argv[2]
const load = Module.createRequire(bin)
load('@nexrender/core')
for (const name of ['arg', 'chalk', 'rimraf']) {
  try {
    load(name)
  } catch (_) {} // another version of the cli, which will load what it needs
}
fs.writeSync(1, '\0warm\n')

const job = JSON.parse(line())
process.chdir(job.cwd)
for (const name of Object.keys(process.env)) {
  if (!(name in job.env) && !job.keep.includes(name)) delete process.env[name]
}
for (const name of Object.keys(job.env)) {
  if (!job.keep.includes(name) && process.env[name] !== job.env[name]) process.env[name] = job.env[name]
}
if (process.platform !== 'win32') {
  fs.closeSync(0)
  fs.openSync('/dev/null', 'r') // takes the lowest number, which is 0
}
process.argv = [process.argv[0], bin, ...job.words]
Module._load(bin, null, true)

function line() {
  const piece = Buffer.alloc(65536)
  let text = Buffer.alloc(0)
  while (text.indexOf(10) < 0) {
    let size = 0
    try {
      size = fs.readSync(0, piece, 0, piece.length, null)
    } catch (error) {
      if (error.code !== 'EOF') process.exit(1)
    }
    if (!size) process.exit(0)
    text = Buffer.concat([text, piece.subarray(0, size)])
  }
  return text.toString('utf8')
}
