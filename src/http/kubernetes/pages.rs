//! Lists, page by page: what is read in batches until a page is full.

use super::{
    accept::{LONGEST_LIST, Row},
    options::ListOptions,
};
use crate::domain::Refusal;

/// How many are read at a time: one batch of reads.
const BATCH: usize = 99;

/// The most that are read for one request, in batches.
const MOST_BATCHES: usize = 20;

/// The rows of a page, and the name after which the next one begins.
///
/// `read` is given the name after which it begins and how many it reads at most. It gives those of them that are wanted, and
/// the name after which more may come. `row` gives the name of one and how it is shown.
pub(super) async fn page<T, Read: Future<Output = Result<(Vec<T>, Option<String>), Refusal>>>(
    options: &ListOptions,
    read: impl Fn(Option<String>, usize) -> Read,
    row: impl Fn(&T) -> (String, Row),
) -> Result<(Vec<Row>, Option<String>), Refusal> {
    let (mut rows, mut length, mut after) = (Vec::new(), 0, options.after.clone());
    for _ in 0..MOST_BATCHES {
        // With a selector most of a batch may be unwanted.
        let limit = if options.selector.is_empty() { BATCH.min(options.limit - rows.len()) } else { BATCH };
        let (found, next) = read(after, limit).await?;
        let mut found = found.iter().peekable();
        while let Some(one) = found.next() {
            let (name, row) = row(one);
            length += row.object.to_string().len();
            rows.push(row);
            let is_full = length > LONGEST_LIST || rows.len() >= options.limit;
            if is_full && (next.is_some() || found.peek().is_some()) {
                return Ok((rows, Some(name)));
            }
        }
        if next.is_none() || rows.len() >= options.limit {
            return Ok((rows, next));
        }
        after = next;
    }
    // Whoever wants more asks again: one request has an end, also where few of very many are wanted.
    Ok((rows, after))
}
