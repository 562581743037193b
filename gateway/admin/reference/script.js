"use strict";
const DEPTH = 3;

function make(name, properties, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function resolve(spec, schema) {
  if (!schema || !schema.$ref) return schema || {};
  return spec.components.schemas[schema.$ref.split("/").pop()] || {};
}

function kind(spec, schema) {
  if (!schema) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map(value => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(each => kind(spec, each)).join(" | ");
  if (schema.type === "array") return "list of " + kind(spec, schema.items || (schema.prefixItems || [])[0]);
  return schema.type || "anything";
}

function limits(schema) {
  const names = ["minLength", "maxLength", "minimum", "maximum", "pattern", "minItems", "maxItems", "default"];
  return names.filter(name => schema[name] !== undefined && schema[name] !== null)
    .map(name => `${name} ${typeof schema[name] === "object" ? JSON.stringify(schema[name]) : schema[name]}`).join(", ");
}

function table(rows, heads) {
  const head = make("tr", {}, ...heads.map(text => make("th", {scope: "col"}, text)));
  const lines = rows.map(row => make("tr", {}, ...row.map((text, n) => make("td", {}, n ? text : make("code", {}, text)))));
  return make("div", {className: "scroll"}, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines)));
}

function fields(spec, schema) {
  const whole = resolve(spec, schema);
  const required = whole.required || [];
  const rows = Object.entries(whole.properties || {}).map(([name, field]) =>
    [name, kind(spec, field), required.includes(name) ? "yes" : "", [field.description, limits(field)].filter(Boolean).join("; ")]);
  return rows.length ? table(rows, ["field", "type", "required", ""]) : make("p", {}, kind(spec, schema));
}

function example(spec, schema, depth = 0) {
  const whole = resolve(spec, schema);
  if (whole.examples) return whole.examples[0];
  if (whole.default !== undefined && whole.default !== null) return whole.default;
  if (whole.enum) return whole.enum[0];
  if (whole.anyOf) return example(spec, whole.anyOf.find(each => each.type !== "null"), depth);
  if (whole.type === "array") return [];
  if (whole.properties && depth < DEPTH) {
    const needed = Object.keys(whole.properties).filter(name => (whole.required || []).includes(name));
    return Object.fromEntries(needed.map(name => [name, example(spec, whole.properties[name], depth + 1)]));
  }
  return {integer: 1, number: 1, boolean: true, string: "…"}[whole.type] ?? null;
}

function command(spec, path, method, operation) {
  const lines = [`curl -s${method === "get" ? "" : " -X " + method.toUpperCase()} ${location.origin}${path}`];
  const secured = (operation.security || []).map(each => Object.keys(each)[0]);
  if (secured.includes("token")) lines.push(`-H "Authorization: Bearer $TOKEN"`);
  if (secured.includes("apiKey")) lines.push(`-H "Authorization: Bearer $GATEWAY_KEY"`);
  const body = operation.requestBody && operation.requestBody.content["application/json"];
  if (body) lines.push(`-H "Content-Type: application/json" -d '${JSON.stringify(example(spec, body.schema))}'`);
  return lines.join(" \\\n  ");
}

function opened(spec, path, method, operation) {
  const parts = [make("p", {}, "Permission: ", make("code", {}, operation["x-permission"]))];
  const parameters = (operation.parameters || []).map(each =>
    [each.name, kind(spec, each.schema), each.in, [each.description, limits(each.schema)].filter(Boolean).join("; ")]);
  if (parameters.length) parts.push(make("h3", {}, "Parameters"), table(parameters, ["name", "type", "in", ""]));
  const body = operation.requestBody && operation.requestBody.content["application/json"];
  if (body) parts.push(make("h3", {}, "Body"), fields(spec, body.schema));
  for (const [status, response] of Object.entries(operation.responses)) {
    const [media] = Object.entries(response.content || {});
    if (status >= "400") continue;
    parts.push(make("h3", {}, `${status} ${response.description}`));
    if (media && media[1].schema) parts.push(fields(spec, media[1].schema));
    else if (media) parts.push(make("p", {}, media[0]));
  }
  const errors = Object.keys(operation.responses).filter(status => status >= "400").join(", ");
  parts.push(make("p", {}, `Errors: ${errors}, each with `, make("code", {}, "detail, type, errors, request_id")));
  parts.push(make("h3", {}, "With curl"), make("pre", {}, command(spec, path, method, operation)));
  return make("div", {}, ...parts);
}

function closed(spec, path, method, operation) {
  const title = make("summary", {}, make("span", {className: "method"}, method.toUpperCase()), make("code", {}, path),
    make("span", {className: "what"}, operation.summary));
  const node = make("details", {id: operation.operationId}, title);
  node.dataset.text = `${method} ${path} ${operation.summary} ${operation["x-permission"]}`.toLowerCase();
  node.addEventListener("toggle", () => {
    if (node.open && node.children.length === 1) node.append(opened(spec, path, method, operation));
  });
  return node;
}

function show(spec) {
  const groups = new Map(spec.tags.map(tag => [tag.name, []]));
  for (const [path, methods] of Object.entries(spec.paths))
    for (const [method, operation] of Object.entries(methods))
      groups.get(operation.tags[0]).push(closed(spec, path, method, operation));
  const main = document.getElementById("operations");
  main.replaceChildren();
  for (const [tag, nodes] of groups) {
    const id = "tag-" + tag.replace(/\W+/g, "-");
    document.getElementById("tags").append(make("a", {href: "#" + id}, tag));
    main.append(make("section", {}, make("h2", {id}, tag), ...nodes));
  }
  document.getElementById("find").addEventListener("input", event => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const section of main.children) {
      let any = false;
      for (const node of section.querySelectorAll("details")) {
        node.hidden = !node.dataset.text.includes(wanted);
        any ||= !node.hidden;
      }
      section.hidden = !any;
    }
  });
  const there = location.hash && document.getElementById(location.hash.slice(1));
  if (there) { there.open = true; there.scrollIntoView(); }
}

fetch("/api/v1/openapi.json").then(answer => answer.ok ? answer.json() : Promise.reject(answer.status)).then(show)
  .catch(error => { document.getElementById("state").textContent = `The document could not be read (${error}).`; });
