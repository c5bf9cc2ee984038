//! `GET /docs`: the OpenAPI document as a page for readers. No script, nothing from elsewhere; without the style it reads
//! from top to bottom. Every text of the document is escaped.

use std::{fmt::Write, sync::OnceLock};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use utoipa::openapi::{OpenApi, PathItem};

use super::routes::TAGS;

const STYLE: &str = include_str!("docs.css");

/// The page's Content-Security-Policy: nothing but the style that is in it.
pub(super) fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    })
}

/// One operation on its way into the page.
struct Operation {
    method: &'static str,
    path: String,
    /// The operation of the document.
    about: Value,
}

impl Operation {
    fn text(&self, field: &str) -> &str {
        self.about[field].as_str().unwrap_or_default()
    }
}

/// The page.
pub(super) fn render(document: &OpenApi, issuer: &str) -> String {
    let operations = operations(document);
    let whole = serde_json::to_value(document).unwrap_or_default();
    let mut page = Page { html: String::new(), components: &whole["components"], issuer };
    page.begin(&document.info.version, document.info.description.as_deref().unwrap_or_default());
    page.contents(&operations);
    page.push("<main id=\"main\">\n");
    page.preface();
    for (number, (tag, description)) in TAGS.iter().enumerate() {
        let _ = writeln!(
            page.html,
            "<section aria-labelledby=\"group-{number}\">\n<h2 id=\"group-{number}\">{}</h2>",
            escape(tag)
        );
        page.paragraphs(description);
        for operation in of_tag(&operations, tag) {
            page.operation(operation);
        }
        page.push("</section>\n");
    }
    page.push("</main>\n</body>\n</html>\n");
    page.html
}

fn operations(document: &OpenApi) -> Vec<Operation> {
    let methods = |item: &PathItem| {
        [("GET", &item.get), ("POST", &item.post), ("PUT", &item.put), ("PATCH", &item.patch), ("DELETE", &item.delete)]
            .map(|(method, operation)| (method, serde_json::to_value(operation).unwrap_or_default()))
    };
    let mut found = Vec::new();
    for (path, item) in &document.paths.paths {
        for (method, about) in methods(item).into_iter().filter(|(_, about)| !about.is_null()) {
            found.push(Operation { method, path: path.clone(), about });
        }
    }
    found
}

fn of_tag<'a>(operations: &'a [Operation], tag: &'a str) -> impl Iterator<Item = &'a Operation> {
    operations.iter().filter(move |operation| operation.about["tags"][0] == tag)
}

struct Page<'a> {
    html: String,
    components: &'a Value,
    issuer: &'a str,
}

impl Page<'_> {
    fn push(&mut self, html: &str) {
        self.html.push_str(html);
    }

    fn begin(&mut self, version: &str, description: &str) {
        let _ = write!(
            self.html,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>gatemint: the interface</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the operations</a>\n\
             <header>\n<h1>gatemint <span class=\"version\">{}</span></h1>\n",
            escape(version)
        );
        self.paragraphs(description);
        self.push("<p>The same for programs: <a href=\"openapi.json\">openapi.json</a></p>\n</header>\n");
    }

    fn contents(&mut self, operations: &[Operation]) {
        self.push("<nav aria-labelledby=\"contents\">\n<h2 id=\"contents\">Contents</h2>\n<ul>\n");
        for (number, (tag, _)) in TAGS.iter().enumerate() {
            let _ = writeln!(self.html, "<li><a href=\"#group-{number}\">{}</a>\n<ul>", escape(tag));
            for operation in of_tag(operations, tag) {
                let _ = writeln!(
                    self.html,
                    "<li><a href=\"#{}\">{}</a> <span class=\"soft\">{} <code>{}</code></span></li>",
                    escape(operation.text("operationId")),
                    escape(operation.text("summary")),
                    operation.method,
                    escape(&operation.path)
                );
            }
            self.push("</ul></li>\n");
        }
        self.push("</ul>\n</nav>\n");
    }

    /// How the requests below can be pasted: secrets are read from files, since every process can read a command line.
    fn preface(&mut self) {
        self.push("<section aria-labelledby=\"requests\">\n<h2 id=\"requests\">The requests on this page</h2>\n");
        self.paragraphs(
            "Every operation has requests for `curl` to paste. Secrets are never arguments, which every process of the machine \
             can read: they come from files without a line end, named like their parameter, and the access token from a \
             file `authorization`. This asks for a password:",
        );
        self.example("A password", "umask 077; read -rs password; printf %s \"$password\" > password");
        self.paragraphs("And a sign-in makes the others:");
        let commands = format!(
            "curl -sS {}/oauth2/token \\\n  -d grant_type=password -d username=ada --data-urlencode password@password > reply.json\n\
             jq -j .refresh_token reply.json > refresh_token\n\
             jq -j '\"Authorization: Bearer \" + .access_token' reply.json > authorization",
            self.issuer
        );
        self.example("A sign-in", &commands);
        self.push("</section>\n");
    }

    fn operation(&mut self, operation: &Operation) {
        let id = escape(operation.text("operationId"));
        let _ = writeln!(
            self.html,
            "<article aria-labelledby=\"{id}\">\n<h3 id=\"{id}\">{}</h3>\n<p><span class=\"method\">{}</span> <code>{}</code></p>",
            escape(operation.text("summary")),
            operation.method,
            escape(&operation.path)
        );
        self.paragraphs(operation.text("description"));
        self.credentials(&operation.about["security"]);
        self.parameters(operation);
        self.requests(operation);
        self.answers(operation);
        self.push("</article>\n");
    }

    fn credentials(&mut self, security: &Value) {
        let names = security.as_array().map(|ways| ways.iter().filter_map(Value::as_object).flat_map(|way| way.keys()));
        let says: Vec<&str> = names
            .into_iter()
            .flatten()
            .map(|name| match name.as_str() {
                "bearer" => "an access token as Bearer",
                "password" => "a user's name and password, by Basic",
                _ => "a client, by Basic or in the form",
            })
            .collect();
        if !says.is_empty() {
            let _ = writeln!(self.html, "<p><strong>Who asks:</strong> {}.</p>", escape(&says.join("; or ")));
        }
    }

    fn parameters(&mut self, operation: &Operation) {
        let parameters = operation.about["parameters"].as_array().cloned().unwrap_or_default();
        let bodies = operation.about["requestBody"]["content"].as_object().cloned().unwrap_or_default();
        if parameters.is_empty() && bodies.is_empty() {
            return;
        }
        self.push("<h4>Parameters</h4>\n<dl>\n");
        for parameter in &parameters {
            let place = parameter["in"].as_str().unwrap_or_default();
            let name = parameter["name"].as_str().unwrap_or_default();
            let description = parameter["description"].as_str().unwrap_or_default();
            self.field(
                name,
                &format!("in the {place}"),
                &parameter["schema"],
                parameter["required"] == true,
                description,
            );
        }
        for (media_type, body) in &bodies {
            let place = if media_type.ends_with("json") { "in the JSON body" } else { "in the form" };
            let schema = self.resolve(&body["schema"]).clone();
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            let (first, then): (Vec<_>, Vec<_>) =
                properties.iter().partition(|(name, _)| required.iter().any(|needed| needed == name.as_str()));
            for (name, property) in first.into_iter().chain(then) {
                let needed = required.iter().any(|needed| needed == name.as_str());
                let description = described(property);
                self.field(name, place, property, needed, description);
            }
        }
        self.push("</dl>\n");
    }

    fn field(&mut self, name: &str, place: &str, schema: &Value, required: bool, description: &str) {
        let needed = if required { "required" } else { "optional" };
        let kind = self.kind(schema);
        let _ = write!(
            self.html,
            "<dt><code>{}</code> <span class=\"kind\">{}, {}, {needed}</span></dt>\n<dd>",
            escape(name),
            escape(&kind),
            escape(place)
        );
        let resolved = self.resolve(schema);
        let resolved = described(if resolved["items"].is_null() { resolved } else { self.resolve(&resolved["items"]) });
        let resolved = resolved.to_owned();
        self.push(&inline(description));
        if !resolved.is_empty() && resolved != description {
            self.push(" ");
            self.push(&inline(&resolved));
        }
        self.push("</dd>\n");
    }

    fn requests(&mut self, operation: &Operation) {
        self.push("<h4>Request</h4>\n");
        let bodies = operation.about["requestBody"]["content"].as_object().cloned().unwrap_or_default();
        for (media_type, body) in &bodies {
            for example in body["examples"].as_object().into_iter().flat_map(|examples| examples.values()) {
                let summary = example["summary"].as_str().unwrap_or("A request");
                let _ = writeln!(self.html, "<p>{}:</p>", inline(summary));
                let command = self.curl(operation, Some((media_type, &example["value"], &body["schema"])));
                self.example(summary, &command);
            }
        }
        if bodies.is_empty() {
            let command = self.curl(operation, None);
            self.example("A request", &command);
        }
    }

    /// A command line; secrets come from files, and a JSON body from standard input.
    fn curl(&self, operation: &Operation, body: Option<(&String, &Value, &Value)>) -> String {
        let mut path = operation.path.clone();
        let mut query = Vec::new();
        for parameter in operation.about["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default();
            let example = plain(&parameter["example"]);
            match parameter["in"].as_str() {
                Some("path") => path = path.replace(&format!("{{{name}}}"), &example),
                // A cursor is what another answer gave: none to begin with.
                Some("query") if name != "cursor" => query.push(format!("{name}={example}")),
                _ => {}
            }
        }
        let mut url = format!("{}{path}", self.issuer);
        if !query.is_empty() {
            let _ = write!(url, "?{}", query.join("&"));
        }
        let mut command = String::from("curl -sS ");
        if !matches!((operation.method, body), ("GET", None) | ("POST", Some(_))) {
            let _ = write!(command, "-X {} ", operation.method);
        }
        command.push_str(&quoted(&url));
        if operation.about["security"] == serde_json::json!([{ "bearer": [] }]) {
            command.push_str(" -H @authorization");
        } else if operation.about["security"] == serde_json::json!([{ "password": [] }]) {
            // Bash's own `printf` and here-string: the password is no program's argument.
            command.push_str(
                " -H @- \\\n  <<< \"Authorization: Basic $(printf 'ada:%s' \"$(<password)\" | base64 | tr -d '\\n')\"",
            );
        }
        let Some((media_type, value, schema)) = body else { return command };
        if media_type.ends_with("json") {
            let text = serde_json::to_string_pretty(value).unwrap_or_default();
            let _ = write!(command, " \\\n  -H 'Content-Type: {media_type}' --data-binary @- <<'END'\n{text}\nEND");
            return command;
        }
        let properties = &self.resolve(schema)["properties"];
        for (name, value) in value.as_object().into_iter().flatten() {
            let value = plain(value);
            if properties[name]["format"] == "password" {
                let _ = write!(command, " \\\n  --data-urlencode {name}@{name}");
            } else {
                let _ = write!(command, " \\\n  --data-urlencode {}", quoted(&format!("{name}={value}")));
            }
        }
        command
    }

    fn answers(&mut self, operation: &Operation) {
        self.push("<h4>Answers</h4>\n<dl>\n");
        for (status, answer) in operation.about["responses"].as_object().into_iter().flatten() {
            let answer = self.referred_to(answer).unwrap_or(answer).clone();
            let description = answer["description"].as_str().unwrap_or_default();
            let _ = write!(self.html, "<dt><code>{}</code></dt>\n<dd>{}", escape(status), inline(description));
            let headers = answer["headers"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
            let own: Vec<&str> = headers.filter(|name| !ALWAYS.contains(name)).collect();
            if !own.is_empty() {
                let _ = write!(self.html, " <span class=\"soft\">With {}.</span>", escape(&own.join(", ")));
            }
            for content in answer["content"].as_object().into_iter().flat_map(|content| content.values()) {
                if content["example"].is_null() {
                    continue;
                }
                let example = &content["example"];
                // What is no JSON is shown as it is.
                let pretty = || serde_json::to_string_pretty(example).unwrap_or_default();
                let text = example.as_str().map_or_else(pretty, str::to_owned);
                let label = format!("A reply with {status}");
                if status.starts_with('2') {
                    self.example(&label, &text);
                } else {
                    self.push("\n<details><summary>A reply</summary>\n");
                    self.example(&label, &text);
                    self.push("</details>\n");
                }
            }
            self.push("</dd>\n");
        }
        self.push("</dl>\n");
    }

    /// Something to copy. It can be scrolled by keys, so it can be reached by them and has a name.
    fn example(&mut self, label: &str, text: &str) {
        let label = escape(&label.replace('`', ""));
        let _ = writeln!(
            self.html,
            "<pre tabindex=\"0\" role=\"group\" aria-label=\"{label}\"><code>{}</code></pre>",
            escape(text)
        );
    }

    fn paragraphs(&mut self, text: &str) {
        for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            let _ = writeln!(self.html, "<p>{}</p>", inline(paragraph));
        }
    }

    fn referred_to(&self, value: &Value) -> Option<&Value> {
        let (kind, name) = value["$ref"].as_str()?.strip_prefix("#/components/")?.split_once('/')?;
        Some(&self.components[kind][name])
    }

    /// What a reference stands for; of a value that may be null, the value.
    fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        if let Some(found) = self.referred_to(schema) {
            return self.resolve(found);
        }
        let alternatives = schema["oneOf"].as_array().into_iter().flatten();
        alternatives.into_iter().find(|one| one["$ref"].is_string()).map_or(schema, |one| self.resolve(one))
    }

    /// A schema in a word or two.
    fn kind(&self, schema: &Value) -> String {
        let schema = self.resolve(schema);
        let names = match &schema["type"] {
            Value::Array(names) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
            name => name.as_str().map(|name| vec![name]).unwrap_or_default(),
        };
        let kind = match names.first().copied() {
            Some("array") => format!("list of {}", self.kind(&schema["items"])),
            Some(name) => name.to_owned(),
            None => "value".to_owned(),
        };
        let range = match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
            (Some(least), Some(most)) => format!(" {least} to {most}"),
            _ => String::new(),
        };
        let values: Vec<&str> = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        format!("{kind}{range}{values}")
    }
}

/// The headers that every answer has: said once.
const ALWAYS: [&str; 3] = ["Cache-Control", "X-Content-Type-Options", "X-Request-Id"];

/// A schema's description; of a value that may be null, the value's.
fn described(schema: &Value) -> &str {
    let of_value = || schema["oneOf"].as_array()?.iter().find_map(|one| one["description"].as_str());
    schema["description"].as_str().or_else(of_value).unwrap_or_default()
}

/// A value as it stands in a form, a path or a query.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One word of a shell's command line.
fn quoted(word: &str) -> String {
    if word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:=@%,+".contains(&byte)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A text in HTML, between tags or in a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Escapes, and makes code of what stands in backquotes.
fn inline(text: &str) -> String {
    let mut html = String::new();
    for (number, piece) in text.split('`').enumerate() {
        if number % 2 == 1 {
            let _ = write!(html, "<code>{}</code>", escape(piece));
        } else {
            html.push_str(&escape(piece));
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_escaped_and_every_word_is_quoted() {
        assert_eq!(inline("a <b> `c&d` 'e' \"f\""), "a &lt;b&gt; <code>c&amp;d</code> &#39;e&#39; &quot;f&quot;");
        assert_eq!(quoted("a=b"), "a=b");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn a_document_that_holds_markup_yields_none() {
        let text = "<script>alert(1)</script>";
        let mut document = OpenApi::default();
        document.info.version = text.to_owned();
        document.info.description = Some(text.to_owned());
        let item = serde_json::from_value(serde_json::json!({ "get": {
            "operationId": text, "tags": [TAGS[0].0], "summary": text, "description": text,
            "parameters": [{ "name": text, "in": "query", "required": false, "description": text, "example": text }],
            "responses": { text: { "description": text, "content": { text: { "example": text } } } }
        } }));
        document.paths.paths.insert(format!("/{text}"), item.unwrap());
        let page = render(&document, &format!("http://{text}"));
        assert!(!page.contains("<script"), "{page}");
        assert!(page.matches("&lt;script&gt;").count() > 10, "{page}");
    }
}
