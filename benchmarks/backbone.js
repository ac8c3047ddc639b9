// Backbone.dualStorage's own way of keeping records, rewritten from its source for node: localStorage is a Map of
// strings, the upstream a function that answers at once. What it costs is in what it does: every create rewrites the
// list of all ids, and the list of all dirty ones; every synced record takes itself out of both.
//
//     node backbone.js create 10000     microseconds of one create, when 10, 100, 1000 ... are there
//     node backbone.js sync 1000        seconds of creating them offline and of syncDirtyAndDestroyed
"use strict";

class LocalStorage {
  constructor() { this.items = new Map(); }
  getItem(key) { return this.items.has(key) ? this.items.get(key) : null; }
  setItem(key, value) { this.items.set(key, String(value)); }
  removeItem(key) { this.items.delete(key); }
}

const localStorage = new LocalStorage();

class Store {
  constructor(name) { this.name = name; this.records = this.recordsOn(name); }
  recordsOn(key) { const stored = localStorage.getItem(key); return (stored && stored.split(",")) || []; }
  save() { localStorage.setItem(this.name, this.records.join(",")); }
  generateId() {
    const hex = () => Math.floor((1 + Math.random()) * 0x10000).toString(16).substring(1);
    return hex() + hex() + "-" + hex() + "-" + hex() + "-" + hex() + "-" + hex() + hex() + hex();
  }
  dirty(model) {
    const dirty = this.recordsOn(this.name + "_dirty");
    if (!dirty.includes(String(model.id))) {
      dirty.push(model.id);
      localStorage.setItem(this.name + "_dirty", dirty.join(","));
    }
  }
  clean(model, from) {
    const store = this.name + "_" + from;
    const dirty = this.recordsOn(store);
    if (dirty.includes(String(model.id))) {
      localStorage.setItem(store, dirty.filter((id) => id !== String(model.id)).join(","));
    }
  }
  create(model) {
    if (!model.id) model.id = this.generateId();
    localStorage.setItem(this.name + model.id, JSON.stringify(model));
    this.records.push(String(model.id));
    this.save();
  }
  find(id) { return JSON.parse(localStorage.getItem(this.name + id)); }
  destroy(model) {
    localStorage.removeItem(this.name + model.id);
    this.records = this.records.filter((id) => id !== String(model.id));
    this.save();
  }
}

let numbers = 1000000;
const upstream = (model) => ({ ...JSON.parse(JSON.stringify(model)), id: ++numbers });

// dualsync "create", offline: a new Store for each call, as localsync makes one.
function createOffline(attributes) {
  const store = new Store("/people");
  const model = { ...attributes };
  store.create(model);
  store.dirty(model);
  return model;
}

// dualsync "update" of a model with a temporary id, online: create upstream, then swap the local records.
function syncOne(id) {
  let store = new Store("/people");
  const model = store.find(id);
  const answered = upstream({ ...model, id: null });
  store = new Store("/people");
  store.destroy(model);
  store.clean(model, "dirty");
  store = new Store("/people");
  store.create(answered);
}

const attributes = {
  name: "Ada Lovelace the 1th", email: "ada.lovelace.1@example.org", age: 21, city: "St James's Square, London",
  active: false, tags: ["mathematics", "engines"], updated_at: "2026-01-02T03:04:05Z",
};
const [what, count] = [process.argv[2], Number(process.argv[3])];
const seconds = () => Number(process.hrtime.bigint()) / 1e9;

if (what === "create") {
  const times = {};
  for (let number = 1, next = 10; number <= count; number++) {
    createOffline(attributes);
    if (number === next) {
      const from = seconds();
      for (let more = 0; more < 5; more++) createOffline(attributes);
      times[number] = (seconds() - from) / 5;
      number += 5;
      next *= 10;
    }
  }
  console.log(JSON.stringify(times));
} else {
  const began = seconds();
  for (let number = 0; number < count; number++) createOffline(attributes);
  const created = seconds();
  for (const id of new Store("/people").recordsOn("/people_dirty")) syncOne(id);
  console.log(JSON.stringify({ create: created - began, sync: seconds() - created }));
}
