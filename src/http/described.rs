//! What is said of one route: an OpenAPI operation, put together from the wire types and from sentences beside them.
//!
//! Statuses, headers and examples are written where the route is; what every answer has is added here.

use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Content, ContentBuilder, Header, Ref, RefOr, Required, Response, ResponseBuilder, Schema,
        example::ExampleBuilder,
        extensions::Extensions,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{Object, ObjectBuilder, Type},
        security::SecurityRequirement,
    },
};

/// The media type of forms (RFC 6749 appendix B).
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// The media type of our own resources, and of replies.
pub(super) const JSON: &str = "application/json";

/// What is said of a route, and the schemas that it refers to.
pub(super) struct Described {
    operation: OperationBuilder,
    parameters: Vec<Parameter>,
    schemas: Vec<(String, RefOr<Schema>)>,
    /// Of which status the answer is one that other operations have too, and its name.
    shared: Vec<(u16, &'static str)>,
}

/// An operation, and what it refers to.
pub(super) struct Built {
    pub(super) operation: Operation,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
    pub(super) responses: Vec<(String, RefOr<Response>)>,
}

impl Described {
    /// An operation: its id, its group (a tag of the document), what it does in a few words, and all there is to know.
    pub(super) fn new(id: &str, tag: &str, summary: &str, description: &str) -> Self {
        let operation = OperationBuilder::new()
            .operation_id(Some(id))
            .tag(tag)
            .summary(Some(summary))
            .description(Some(description));
        Self { operation, parameters: Vec::new(), schemas: Vec::new(), shared: Vec::new() }
    }

    /// The same at another path: another id and group, as OpenAPI wants one of each.
    pub(super) fn also(mut self, id: &str, tag: &str, summary: &str) -> Self {
        self.operation = self.operation.operation_id(Some(id)).tags(Some([tag])).summary(Some(summary));
        self
    }

    /// One of these ways to show who asks; an empty name: none at all, or one that OpenAPI has no word for.
    pub(super) fn secured(mut self, ways: &[&str]) -> Self {
        for way in ways {
            let requirement = if way.is_empty() {
                SecurityRequirement::default()
            } else {
                SecurityRequirement::new(*way, [] as [&str; 0])
            };
            self.operation = self.operation.security(requirement);
        }
        self
    }

    fn refers_to<T: ToSchema>(&mut self) -> Ref {
        self.refers_to_as::<T>(T::name().into())
    }

    /// A generic type has one name for all that it can be, so that each needs one of its own.
    fn refers_to_as<T: ToSchema>(&mut self, name: String) -> Ref {
        let reference = Ref::from_schema_name(name.as_str());
        self.schemas.push((name, T::schema()));
        T::schemas(&mut self.schemas);
        reference
    }

    /// A segment of the path.
    pub(super) fn path(self, name: &str, description: &str, schema: impl Into<RefOr<Schema>>, example: &str) -> Self {
        self.parameter(ParameterIn::Path, name, description, schema, example)
    }

    /// A parameter of the query that may be left out.
    pub(super) fn query(
        self,
        name: &str,
        description: &str,
        schema: impl Into<RefOr<Schema>>,
        example: impl Into<Value>,
    ) -> Self {
        self.parameter(ParameterIn::Query, name, description, schema, example)
    }

    fn parameter(
        mut self,
        place: ParameterIn,
        name: &str,
        description: &str,
        schema: impl Into<RefOr<Schema>>,
        example: impl Into<Value>,
    ) -> Self {
        let required = if place == ParameterIn::Path { Required::True } else { Required::False };
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(description))
            .schema(Some(schema))
            .example(Some(example.into()));
        self.parameters.push(parameter.build());
        self
    }

    /// A body that must be there, with examples: each a name, a sentence and the body.
    pub(super) fn takes(
        mut self,
        media_type: &str,
        schema: impl Into<RefOr<Schema>>,
        examples: &[(&str, &str, Value)],
    ) -> Self {
        let examples = examples.iter().map(|(name, summary, value)| {
            (*name, ExampleBuilder::new().summary(*summary).value(Some(value.clone())).build())
        });
        let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples);
        let body = RequestBodyBuilder::new().content(media_type, content.build()).required(Some(Required::True));
        self.operation = self.operation.request_body(Some(body.build()));
        self
    }

    /// A JSON body of a wire type.
    pub(super) fn takes_json<T: ToSchema>(mut self, examples: &[(&str, &str, Value)]) -> Self {
        let schema = self.refers_to::<T>();
        self.takes(JSON, schema, examples)
    }

    /// An answer with a body of a wire type.
    pub(super) fn answers<T: ToSchema>(self, status: u16, description: &str, example: Value) -> Self {
        self.answers_as::<T>(status, description, JSON, example, &[])
    }

    /// An answer with a page of a list of `T`s, which are wire types too.
    pub(super) fn answers_page<T: ToSchema, P: ToSchema>(mut self, description: &str, example: Value) -> Self {
        self.refers_to::<T>();
        let schema = self.refers_to_as::<P>(format!("{}Page", T::name()));
        let content = ContentBuilder::new().schema(Some(schema)).example(Some(example)).build();
        self.respond(200, description, Some((JSON, content)), &[])
    }

    /// An answer with a body of a wire type, in a media type, with headers beside those that every answer has.
    pub(super) fn answers_as<T: ToSchema>(
        mut self,
        status: u16,
        description: &str,
        media_type: &str,
        example: Value,
        headers: &[&str],
    ) -> Self {
        let schema = self.refers_to::<T>();
        let content = ContentBuilder::new().schema(Some(schema)).example(Some(example)).build();
        self.respond(status, description, Some((media_type, content)), headers)
    }

    /// An answer without a body.
    pub(super) fn answers_nothing(self, status: u16, description: &str, headers: &[&str]) -> Self {
        self.respond(status, description, None, headers)
    }

    /// An answer that is text.
    pub(super) fn answers_text(self, status: u16, description: &str, media_type: &str, headers: &[&str]) -> Self {
        let content = ContentBuilder::new().schema(Some(Object::with_type(Type::String))).build();
        self.respond(status, description, Some((media_type, content)), headers)
    }

    fn respond(mut self, status: u16, description: &str, content: Option<(&str, Content)>, headers: &[&str]) -> Self {
        let mut response = ResponseBuilder::new().description(description);
        if let Some((media_type, content)) = content {
            response = response.content(media_type, content);
        }
        for name in EVERYWHERE.iter().chain(headers) {
            response = response.header_ref(*name, Ref::new(format!("#/components/headers/{name}")));
        }
        self.operation = self.operation.response(status.to_string(), RefOr::<Response>::T(response.build()));
        self
    }

    /// The answer with this status is the same, under this name, wherever it is shared.
    pub(super) fn shared(mut self, status: u16, name: &'static str) -> Self {
        self.shared.push((status, name));
        self
    }

    /// The operation, and what it refers to.
    pub(super) fn build(self) -> Built {
        let parameters = (!self.parameters.is_empty()).then_some(self.parameters);
        let mut operation = self.operation.parameters(parameters).build();
        let mut responses = Vec::new();
        for (status, name) in self.shared {
            if let Some(response) = operation.responses.responses.get_mut(&status.to_string()) {
                responses.push((name.to_owned(), response.clone()));
                *response = RefOr::Ref(Ref::from_response_name(name));
            }
        }
        Built { operation, schemas: self.schemas, responses }
    }
}

/// The headers that every answer has.
const EVERYWHERE: [&str; 3] = ["Cache-Control", "X-Content-Type-Options", "X-Request-Id"];

/// Every response header that the document speaks of.
pub(super) fn headers() -> Vec<(&'static str, Header)> {
    let header = |description: &str, schema: ObjectBuilder, example: Value| {
        let mut header = Header::new(schema.build());
        header.description = Some(description.to_owned());
        header.example = Some(example);
        // utoipa has no field for it: that the header is always there in the answers that name it.
        header.extensions = Some(Extensions::from_iter([("required", true)]));
        header
    };
    let text = || ObjectBuilder::new().schema_type(Type::String);
    vec![
        (
            "Allow",
            header(
                "The methods that the path answers (RFC 9110 §10.2.1).",
                text().min_length(Some(3)),
                "GET,HEAD".into(),
            ),
        ),
        (
            "Cache-Control",
            header(
                "How long the answer may be kept: `no-store`, but for keys, metadata and documentation.",
                text().pattern(Some("^(no-store|public, max-age=[0-9]+)$")),
                "no-store".into(),
            ),
        ),
        (
            "Content-Disposition",
            header(
                "That it is a file, and its name.",
                text().pattern(Some("^attachment; filename=\"")),
                r#"attachment; filename="refresh-token.txt""#.into(),
            ),
        ),
        (
            "Content-Security-Policy",
            header("The page loads nothing and runs nothing.", text(), "default-src 'none'".into()),
        ),
        ("Pragma", header("As RFC 6749 §5.1 wants it.", text().enum_values(Some(["no-cache"])), "no-cache".into())),
        (
            "Retry-After",
            header(
                "After how many seconds to try again.",
                ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)),
                1.into(),
            ),
        ),
        (
            "WWW-Authenticate",
            header(
                "How to show who asks (RFC 6750 §3, RFC 7617 §2).",
                text().pattern(Some("^(Bearer|Basic) realm=\"gatemint\"")),
                r#"Bearer realm="gatemint""#.into(),
            ),
        ),
        (
            "X-Content-Type-Options",
            header("The content type is to be believed.", text().enum_values(Some(["nosniff"])), "nosniff".into()),
        ),
        (
            "X-Request-Id",
            header(
                "Names the request in the logs: the `X-Request-Id` that came with it if it was sound (1 to 64 letters, digits and `-`), else a new one.",
                text().pattern(Some("^[A-Za-z0-9-]{1,64}$")),
                "nXcEI2yqB7dMkz0aQWJtCw".into(),
            ),
        ),
    ]
}

/// A text with a description.
pub(super) fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

/// A wire type that is written down here, because it is put together by hand or comes from the domain.
macro_rules! schema {
    ($(#[$doc:meta])* $name:ident = $schema:expr) => {
        $(#[$doc])*
        pub(in crate::http) enum $name {}

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let schema: utoipa::openapi::Schema = $schema.into();
                schema.into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}
pub(super) use schema;

/// The schema of a wire type, in place.
pub(super) fn inline<T: PartialSchema>() -> RefOr<Schema> {
    T::schema()
}
