//! What must still be true of a row, in DynamoDB's words. The verdicts are those of `judge`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    super::{Version, When, Write},
    row,
};
use crate::clock::Timestamp;

/// Not past its purge time; of a row that is there.
pub(super) const STANDS: &str = "attribute_not_exists(expires_at) OR expires_at > :now";

/// An expression and the values in it.
pub(super) struct Condition {
    pub(super) expression: &'static str,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl Condition {
    /// The condition of a write; none if it has none.
    pub(super) fn of(write: &Write, now: Timestamp, id: Version) -> Option<Self> {
        let none = HashMap::new();
        Some(match (write, write.when()) {
            (Write::Put { .. }, when) => return Some(Self::of_put(when, now, id)),
            (_, When::Always) => return None,
            (_, When::Absent) => {
                Self { expression: "attribute_not_exists(pk) OR expires_at <= :now", values: with_now(none, now) }
            }
            // Gone is gone, which is what a delete wanted.
            (Write::Delete { .. }, When::VersionIs(wanted)) => Self {
                expression: "attribute_not_exists(pk) OR expires_at <= :now OR v = :wanted",
                values: with_now(with_version(none, ":wanted", wanted), now),
            },
            (Write::Check { .. }, When::VersionIs(wanted)) => Self::standing(wanted, now),
        })
    }

    /// The condition of a put, which never holds for a row that this very commit has written: a put fails whenever it
    /// was done before, and learns that from the row.
    pub(super) fn of_put(when: When, now: Timestamp, id: Version) -> Self {
        let own = with_version(HashMap::new(), ":own", id);
        match when {
            When::Absent => Self {
                expression: "attribute_not_exists(pk) OR (expires_at <= :now AND v <> :own)",
                values: with_now(own, now),
            },
            When::Always => Self { expression: "attribute_not_exists(pk) OR v <> :own", values: own },
            When::VersionIs(wanted) => Self::standing(wanted, now),
        }
    }

    fn standing(wanted: Version, now: Timestamp) -> Self {
        Self {
            expression: "v = :wanted AND (attribute_not_exists(expires_at) OR expires_at > :now)",
            values: with_now(with_version(HashMap::new(), ":wanted", wanted), now),
        }
    }

    /// As the request builders take it.
    pub(super) fn parts(condition: Option<Self>) -> (Option<String>, Option<HashMap<String, AttributeValue>>) {
        condition.map(|condition| (condition.expression.to_owned(), condition.values)).unzip()
    }
}

type Values = HashMap<String, AttributeValue>;

fn with_now(mut values: Values, now: Timestamp) -> Values {
    values.insert(":now".to_owned(), row::seconds(now));
    values
}

fn with_version(mut values: Values, name: &str, version: Version) -> Values {
    values.insert(name.to_owned(), row::version(version));
    values
}
