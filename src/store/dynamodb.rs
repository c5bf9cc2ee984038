//! The store of the cloud: one DynamoDB table, keys `pk` and `sk`.
//!
//! A commit of one write is a conditional `PutItem` or `DeleteItem`, one of several a `TransactWriteItems`; a refused
//! one brings the row that won (`ALL_OLD`). What a condition is in DynamoDB's words is in `condition`, how rows look
//! there in `row`, how long a call goes on trying in `patience`, and what an operator is told in `failure`.
//!
//! The SDK's own retries are off. The loop here knows what they do not: that a cancelled transaction may be cancelled
//! for a passing reason, that unprocessed keys are a reason to ask again, and when the whole call must end. It may send
//! any write again without fear, since a put finds its own id.

mod condition;
mod failure;
mod patience;
mod row;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    config::{Builder, StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig},
    error::SdkError,
    operation::{delete_item::DeleteItemError, put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{
        AttributeValue, CancellationReason, ConditionCheck, Delete, KeysAndAttributes, Put,
        ReturnValuesOnConditionCheckFailure::AllOld, TransactWriteItem,
    },
};
use tokio::task::JoinSet;

use condition::Condition;
use failure::{Failure, Trouble};
use patience::Patience;
use row::Attributes;

use super::{
    CommitError, Item, Key, MAX_PAGE, Page, Store, StoreError, Version, When, Write, check_shape,
    judge::{Seen, Verdict, judge, stands},
};
use crate::{
    clock::Timestamp,
    entropy::{Entropy, SystemEntropy},
};

/// How long a connection may take to be made: its TLS handshake is most of that in a function with little memory.
const CONNECT: Duration = Duration::from_millis(1500);
/// How long one request may take, its connection included.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The most keys that one `BatchGetItem` takes.
const BATCH: usize = 100;

/// A [`Store`] in a DynamoDB table with the keys `pk` and `sk` (strings) and `expires_at` for its TTL attribute.
///
/// * A `get` of up to 100 keys is one request, a `commit` is one, a `list` one for most pages. Nothing ever scans.
/// * A call answers within 6 s, whatever happens: an attempt gets 2 s (1.5 s of it to connect), and throttling, conflicts
///   of transactions, faults of the service, lost connections and lost replies are tried again, after a random pause
///   of at most 25 ms, which doubles up to 1 s, ten attempts in all. Three calls fit into API Gateway's 30 s with room
///   to spare.
/// * A transaction's `ClientRequestToken` is drawn once per call of `commit`: within the call DynamoDB itself answers a
///   retry whose first reply was lost, and recognises a request that arrives late. It is not the commit's id, because
///   DynamoDB remembers a token for ten minutes: a caller's own retry under the same id would be told Ok whatever has
///   become of the rows, and would be refused if its `now` had moved on. So each call is judged by the rows alone, as in
///   every other backend.
/// * A single put or delete has no such token. A request that the network holds back for longer than 2 s, and delivers
///   after its own retry, is judged once more when it arrives. Under [`When::VersionIs`] it can never do anything, since
///   no version comes back. Under [`When::Always`] it would undo what came after it, and under [`When::Absent`] bring
///   back a row that was deleted in these seconds.
/// * A row has at most 400 KB, `pk` 2,048 bytes and `sk` 1,024, and neither key is empty; a commit beyond that is
///   `Unavailable`, and a `get` finds nothing there.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

/// What became of a write.
enum Outcome {
    Done,
    /// The condition of the write at this index of the commit did not hold; the row that is physically there.
    Refused(usize, Option<Item>),
}

impl Outcome {
    fn settle(self, now: Timestamp) -> Result<(), CommitError> {
        match self {
            Self::Done => Ok(()),
            Self::Refused(at, row) => {
                Err(CommitError::Conflict { at, current: row.filter(|row| stands(row.expires_at, now)) })
            }
        }
    }
}

impl DynamoStore {
    /// On a table, with region, credentials and HTTP client of `config`. Does no I/O.
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        let limits = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
        let config = Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(limits)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Self { client: Client::from_conf(config), table: table.into() }
    }

    fn trouble<E>(&self, action: &'static str, error: &SdkError<E>) -> Trouble
    where
        E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        failure::trouble(action, &self.table, error)
    }

    /// Reads one row, whether or not it is past its purge time.
    async fn get_one(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(row::key(key))).consistent_read(true);
        let mut patience = Patience::new();
        loop {
            let attempt = async { request.clone().send().await.map_err(|error| self.trouble("GetItem", &error)) };
            if let Some(reply) = patience.attempt(attempt).await? {
                return reply.item.as_ref().map(row::read).transpose();
            }
        }
    }

    /// Reads up to [`BATCH`] different rows, whether or not they are past their purge times.
    async fn get_batch(&self, keys: Vec<Key>) -> Result<Vec<Item>, StoreError> {
        let mut left: Vec<Attributes> = keys.iter().map(row::key).collect();
        let mut found = Vec::with_capacity(left.len());
        let mut patience = Patience::new();
        loop {
            let attempt = async {
                let asked = KeysAndAttributes::builder()
                    .set_keys(Some(left.clone()))
                    .consistent_read(true)
                    .build()
                    .map_err(|error| Trouble::Lasting(Failure::mistake("BatchGetItem", &self.table, &error)))?;
                let request = self.client.batch_get_item().request_items(&self.table, asked);
                request.send().await.map_err(|error| self.trouble("BatchGetItem", &error))
            };
            let Some(reply) = patience.attempt(attempt).await? else { continue };
            for attributes in reply.responses.iter().flat_map(HashMap::values).flatten() {
                found.push(row::read(attributes)?);
            }
            left = reply
                .unprocessed_keys
                .into_iter()
                .flat_map(HashMap::into_values)
                .flat_map(|asked| asked.keys)
                .collect();
            if left.is_empty() {
                return Ok(found);
            }
            patience.pause(Failure::unprocessed(&self.table, left.len())).await?;
        }
    }

    /// Several batches at the same time.
    async fn get_batches(&self, keys: &[Key]) -> Result<Vec<Item>, StoreError> {
        let mut batches = JoinSet::new();
        for batch in keys.chunks(BATCH) {
            let (store, batch) = (self.clone(), batch.to_vec());
            batches.spawn(async move { store.get_batch(batch).await });
        }
        let mut found = Vec::with_capacity(keys.len());
        while let Some(batch) = batches.join_next().await {
            found.append(&mut batch.map_err(StoreError::new)??);
        }
        Ok(found)
    }

    /// A condition alone: read and judged here, which is one request as well, and a cheaper one.
    async fn check(&self, now: Timestamp, id: Version, at: usize, write: &Write) -> Result<Outcome, StoreError> {
        let row = self.get_one(write.key()).await?;
        let seen = row.as_ref().map(|row| Seen { version: row.version, expires_at: row.expires_at });
        Ok(match judge(now, id, std::slice::from_ref(write), &[seen]) {
            Verdict::Conflict(_) => Outcome::Refused(at, row),
            Verdict::Do | Verdict::Done => Outcome::Done,
        })
    }

    async fn put(&self, at: usize, item: Attributes, condition: Condition, id: Version) -> Result<Outcome, StoreError> {
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition.expression)
            .set_expression_attribute_values(Some(condition.values))
            .return_values_on_condition_check_failure(AllOld);
        let mut patience = Patience::new();
        loop {
            let attempt = async {
                match request.clone().send().await {
                    Ok(_) => Ok(Outcome::Done),
                    Err(SdkError::ServiceError(ref refused))
                        if let PutItemError::ConditionalCheckFailedException(refused) = refused.err() =>
                    {
                        match old_row(refused.item())? {
                            // Its first reply was lost.
                            Some(row) if row.version == id => Ok(Outcome::Done),
                            row => Ok(Outcome::Refused(at, row)),
                        }
                    }
                    Err(error) => Err(self.trouble("PutItem", &error)),
                }
            };
            if let Some(outcome) = patience.attempt(attempt).await? {
                return Ok(outcome);
            }
        }
    }

    async fn delete(&self, at: usize, key: &Key, condition: Option<Condition>) -> Result<Outcome, StoreError> {
        let (expression, values) = Condition::parts(condition);
        let request = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(row::key(key)))
            .set_condition_expression(expression)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(AllOld);
        let mut patience = Patience::new();
        loop {
            let attempt = async {
                match request.clone().send().await {
                    Ok(_) => Ok(Outcome::Done),
                    Err(SdkError::ServiceError(ref refused))
                        if let DeleteItemError::ConditionalCheckFailedException(refused) = refused.err() =>
                    {
                        Ok(Outcome::Refused(at, old_row(refused.item())?))
                    }
                    Err(error) => Err(self.trouble("DeleteItem", &error)),
                }
            };
            if let Some(outcome) = patience.attempt(attempt).await? {
                return Ok(outcome);
            }
        }
    }

    async fn transact(&self, now: Timestamp, id: Version, writes: &[(usize, Write)]) -> Result<Outcome, StoreError> {
        let items = writes
            .iter()
            .map(|(_, write)| self.part(now, id, write))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| StoreError::new(Failure::mistake("TransactWriteItems", &self.table, &error)))?;
        let token = u128::from_be_bytes((&SystemEntropy as &dyn Entropy).bytes());
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            // The same at every attempt; the SDK would draw a new one each time.
            .client_request_token(format!("{token:032x}"));
        let mut patience = Patience::new();
        loop {
            let attempt = async {
                match request.clone().send().await {
                    Ok(_) => Ok(Outcome::Done),
                    Err(SdkError::ServiceError(ref refused))
                        if let TransactWriteItemsError::TransactionCanceledException(cancelled) = refused.err() =>
                    {
                        self.cancelled(id, writes, cancelled.cancellation_reasons())
                    }
                    Err(error) => Err(self.trouble("TransactWriteItems", &error)),
                }
            };
            if let Some(outcome) = patience.attempt(attempt).await? {
                return Ok(outcome);
            }
        }
    }

    /// One write of a transaction.
    fn part(&self, now: Timestamp, id: Version, write: &Write) -> Result<TransactWriteItem, BuildError> {
        let (expression, values) = Condition::parts(Condition::of(write, now, id));
        let part = TransactWriteItem::builder();
        Ok(match write {
            Write::Put { item, .. } => part.put(
                Put::builder()
                    .table_name(&self.table)
                    .set_item(Some(row::attributes(item, id)))
                    .set_condition_expression(expression)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(AllOld)
                    .build()?,
            ),
            Write::Delete { key, .. } => part.delete(
                Delete::builder()
                    .table_name(&self.table)
                    .set_key(Some(row::key(key)))
                    .set_condition_expression(expression)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(AllOld)
                    .build()?,
            ),
            Write::Check { key, .. } => part.condition_check(
                ConditionCheck::builder()
                    .table_name(&self.table)
                    .set_key(Some(row::key(key)))
                    .set_condition_expression(expression)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(AllOld)
                    .build()?,
            ),
        }
        .build())
    }

    /// Judges a cancelled transaction by the reasons that it was given, one for each write.
    fn cancelled(
        &self,
        id: Version,
        writes: &[(usize, Write)],
        reasons: &[CancellationReason],
    ) -> Result<Outcome, Trouble> {
        let mut refused = None;
        for ((at, write), reason) in writes.iter().zip(reasons) {
            if reason.code() != Some("ConditionalCheckFailed") {
                continue;
            }
            let row = old_row(reason.item())?;
            // Asked before anything else, as everywhere: once a commit is done its own conditions no longer hold.
            if matches!(write, Write::Put { .. }) && row.as_ref().is_some_and(|row| row.version == id) {
                return Ok(Outcome::Done);
            }
            refused = refused.or(Some(Outcome::Refused(*at, row)));
        }
        // A write that was not judged for a passing reason may be one that failed before, or this very commit's.
        match failure::cancelled(&self.table, reasons) {
            Some(trouble) => Err(trouble),
            None => refused.ok_or_else(|| Trouble::Lasting(Failure::cancelled_for_nothing(&self.table))),
        }
    }
}

type BuildError = aws_sdk_dynamodb::error::BuildError;

/// The row that made a condition fail.
fn old_row(attributes: Option<&Attributes>) -> Result<Option<Item>, Trouble> {
    attributes.filter(|attributes| !attributes.is_empty()).map(row::read).transpose().map_err(Trouble::Unreadable)
}

#[async_trait]
impl Store for DynamoStore {
    async fn get(&self, now: Timestamp, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let mut wanted: Vec<Key> = Vec::with_capacity(keys.len());
        let mut seen = HashSet::new();
        for key in keys {
            // DynamoDB refuses a key that comes twice, and one that no row can have.
            if row::possible(key) && seen.insert(key) {
                wanted.push(key.clone());
            }
        }
        let found = match wanted.as_slice() {
            [] => Vec::new(),
            [one] => self.get_one(one).await?.into_iter().collect(),
            few if few.len() <= BATCH => self.get_batch(wanted).await?,
            many => self.get_batches(many).await?,
        };
        let standing: HashMap<&Key, &Item> =
            found.iter().filter(|row| stands(row.expires_at, now)).map(|row| (&row.key, row)).collect();
        Ok(keys.iter().map(|key| standing.get(key).map(|row| (*row).clone())).collect())
    }

    async fn list(
        &self,
        now: Timestamp,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        if !row::possible_partition(partition) {
            return Ok(Page::default());
        }
        let after = after.unwrap_or_default();
        let mut values = HashMap::from([
            (":pk".to_owned(), AttributeValue::S(partition.to_owned())),
            (":now".to_owned(), row::seconds(now)),
        ]);
        let mut keys = "pk = :pk";
        if !after.is_empty() {
            keys = "pk = :pk AND sk > :after";
            values.insert(":after".to_owned(), AttributeValue::S(row::nearest_sort(after).to_owned()));
        }
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression(keys)
            .filter_expression(condition::STANDS)
            .set_expression_attribute_values(Some(values));
        let mut items = Vec::new();
        let mut from = None;
        // One more than was asked for shows whether the partition goes on.
        let mut step = limit + 1;
        let mut patience = Patience::new();
        while items.len() <= limit {
            let request =
                request.clone().limit(i32::try_from(step).unwrap_or(i32::MAX)).set_exclusive_start_key(from.clone());
            let attempt = async { request.send().await.map_err(|error| self.trouble("Query", &error)) };
            let Some(reply) = patience.attempt(attempt).await? else { continue };
            for attributes in reply.items() {
                items.push(row::read(attributes)?);
            }
            items.retain(|row| row.key.sort.as_str() > after && stands(row.expires_at, now));
            from = reply.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                break;
            }
            // Rows past their purge time took the places: whole pages from now on.
            step = MAX_PAGE;
        }
        Ok(Page::cut(items, limit))
    }

    async fn commit(&self, now: Timestamp, id: Version, writes: Vec<Write>) -> Result<(), CommitError> {
        check_shape(&writes)?;
        writes.iter().try_for_each(row::check)?;
        // A check without a condition says nothing, and DynamoDB has no word for it.
        let writes: Vec<(usize, Write)> = writes
            .into_iter()
            .enumerate()
            .filter(|(_, write)| !matches!(write, Write::Check { when: When::Always, .. }))
            .collect();
        let outcome = match writes.as_slice() {
            [] => Outcome::Done,
            [(at, write @ Write::Check { .. })] => self.check(now, id, *at, write).await?,
            [(at, write @ Write::Delete { key, .. })] => self.delete(*at, key, Condition::of(write, now, id)).await?,
            [(at, Write::Put { item, when })] => {
                self.put(*at, row::attributes(item, id), Condition::of_put(*when, now, id), id).await?
            }
            several => self.transact(now, id, several).await?,
        };
        outcome.settle(now)
    }
}
