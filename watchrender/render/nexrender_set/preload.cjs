'use strict'
// Makes nexrender run on Linux, where it was never meant to: its table of After Effects folders has no row for this
// platform, and cores from 1.51 die of that ("Cannot read properties of null") even when --binary names the program.
// This gives the table an empty row at the moment nexrender reads it, and then leaves: what nexrender starts itself
// (aerender above all) gets neither this file nor a NODE_OPTIONS that names it.

const Module = require('module')

const load = Module._load
const ourselves = /(^|\s)--require[\s=](?:"(?:[^"\\]|\\.)*preload\.cjs"|\S*preload\.cjs)(?=\s|$)/

function watch(request) {
  const found = load.apply(this, arguments)
  if (/(^|[\\/])autofind(\.js)?$/.test(request)) {
    if (Module._load === watch) Module._load = load
    if (found && found.defaultPaths && !found.defaultPaths[process.platform]) found.defaultPaths[process.platform] = []
    leave()
  }
  return found
}

function leave() {
  const rest = (process.env.NODE_OPTIONS || '').replace(ourselves, '$1').trim()
  if (rest) process.env.NODE_OPTIONS = rest
  else delete process.env.NODE_OPTIONS
}

Module._load = watch
