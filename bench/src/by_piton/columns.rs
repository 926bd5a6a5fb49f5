//! The queries by the stock operators, which speak Arrow: events come as columns, and everything is SQL expressions.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use piton::blueprint::{
    Fault, KindDoc, Options, SinkBlueprint, SinkKind, Site, SourceBlueprint, SourceKind, read_options, redistribute_by,
    sink_blueprint,
};
use piton::host::HostedSource;
use piton::prelude::*;
use piton::{Delivery, RecordType, Table};
use serde::Deserialize;

use super::Part as Operators;
use super::ends::Reader;
use crate::answer::{Part, Row};
use crate::event::Event;
use crate::query::Query;

/// Returns the operators of a query; the last one is called "answers". None if the stock operators do not have it: q4 and q6
/// close an auction when its time comes, q12 and the keyed count tell something of each event.
pub(super) fn parts(query: Query) -> Option<Vec<Operators>> {
    const PERSONS: Operators = ("persons", "filter", &["events"], "where = \"kind = 0\"");
    const AUCTIONS: Operators = ("auctions", "filter", &["events"], "where = \"kind = 1\"");
    const BIDS: Operators = ("bids", "filter", &["events"], "where = \"kind = 2\"");
    Some(match query {
        Query::Q0 => {
            vec![BIDS, ("answers", "select", &["bids"], "columns = [\"a\", \"b\", \"c\", \"time\"]")]
        }
        Query::Q1 => {
            let columns = "columns = [\"a\", \"b\", \"c * 908 AS price\", \"time\"]";
            vec![BIDS, ("answers", "select", &["bids"], columns)]
        }
        Query::Q2 => vec![
            ("some", "filter", &["events"], "where = \"kind = 2 AND a % 123 = 0\""),
            ("answers", "select", &["some"], "columns = [\"a\", \"c\"]"),
        ],
        Query::Q3 => vec![
            ("auctions", "filter", &["events"], "where = \"kind = 1 AND c = 10\""),
            ("offers", "select", &["auctions"], "columns = [\"a AS auction\", \"b AS seller\"]"),
            // The two letters of Oregon, Idaho and California as numbers.
            ("local", "filter", &["events"], "where = \"kind = 0 AND d IN (29295, 25705, 24931)\""),
            ("persons", "select", &["local"], "columns = [\"a AS id\", \"b AS name\", \"c AS city\", \"d AS state\"]"),
            ("pairs", "join", &["offers", "persons"], "on = { left = [\"seller\"], right = [\"id\"] }"),
            ("answers", "select", &["pairs"], "columns = [\"name\", \"city\", \"state\", \"auction\"]"),
        ],
        Query::Q5 => vec![
            BIDS,
            (
                "counts",
                "aggregate",
                &["bids"],
                "by = [\"a\"]\ncolumns = [\"count(*) AS n\"]\nwindow = { sliding = \"10s\", every = \"2s\" }",
            ),
            // A window has its rows in its last millisecond: windows of 2 s tell them apart.
            ("most", "top", &["counts"], "n = 1\nties = true\norder = [\"n DESC\"]\nwindow = { tumbling = \"2s\" }"),
            ("answers", "select", &["most"], "columns = [\"a\", \"n\", \"window_end\"]"),
        ],
        Query::Q7 => vec![
            BIDS,
            ("highest", "top", &["bids"], "n = 1\nties = true\norder = [\"c DESC\"]\nwindow = { tumbling = \"10s\" }"),
            ("answers", "select", &["highest"], "columns = [\"a\", \"b\", \"c\", \"time\"]"),
        ],
        Query::Q8 => vec![
            PERSONS,
            ("registered", "select", &["persons"], "columns = [\"a AS id\", \"b AS name\"]"),
            AUCTIONS,
            (
                "sellers",
                "aggregate",
                &["auctions"],
                "by = [\"b\"]\ncolumns = [\"count(*) AS n\"]\nwindow = { tumbling = \"10s\" }",
            ),
            (
                "pairs",
                "join",
                &["registered", "sellers"],
                "on = { left = [\"id\"], right = [\"b\"] }\nwindow = { tumbling = \"10s\" }",
            ),
            ("answers", "select", &["pairs"], "columns = [\"id\", \"name\", \"window_start\"]"),
        ],
        Query::Q11 => vec![
            BIDS,
            (
                "sessions",
                "aggregate",
                &["bids"],
                "by = [\"b\"]\ncolumns = [\"count(*) AS n\"]\nwindow = { session = \"10s\" }",
            ),
            ("answers", "select", &["sessions"], "columns = [\"b\", \"n\", \"window_start\", \"window_end\"]"),
        ],
        Query::Q0x | Query::Q4 | Query::Q6 | Query::Q12 | Query::Kc => return None,
    })
}

/// Emits the events of this process as columns: `kind`, `a` to `d`, and `time`.
#[derive(Clone)]
struct Columns {
    schema: SchemaRef,
    timed: bool,
    reader: Reader,
}

impl Columns {
    fn table(&self, events: &[Event]) -> Result<Table> {
        // All columns in one pass: an event is read from memory once.
        let [mut kind, mut a, mut b, mut c, mut d, mut times] = [0; 6].map(|zero: i64| vec![zero; events.len()]);
        let columns = a.iter_mut().zip(&mut b).zip(&mut c).zip(&mut d).zip(&mut kind).zip(&mut times);
        for (event, (((((a, b), c), d), kind), time)) in events.iter().zip(columns) {
            (*kind, [*a, *b, *c, *d]) = event.numbers();
            *time = event.time();
        }
        let times = TimestampMillisecondArray::from(times);
        let shared = self.timed.then(|| times.values().clone());
        let number = |column: Vec<i64>| Arc::new(Int64Array::from(column)) as ArrayRef;
        let columns = vec![number(kind), number(a), number(b), number(c), number(d), Arc::new(times)];
        Ok(Table::with_times(RecordBatch::try_new(Arc::clone(&self.schema), columns)?, shared))
    }
}

impl Source for Columns {
    type Out = Table;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, subtask: &Subtask) -> Result {
        self.reader = Reader::open(position, subtask);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Table>) -> Result<Progress> {
        let run = self.reader.take(feed.room());
        if !run.is_empty() {
            feed.push_table(self.table(run)?);
        }
        Ok(self.reader.progress())
    }

    fn position(&self) -> u64 {
        self.reader.position()
    }
}

/// The kind `columns`.
pub(super) struct ColumnsKind;

#[derive(Deserialize)]
struct Settings {
    timed: bool,
}

impl SourceKind for ColumnsKind {
    fn doc(&self) -> KindDoc {
        KindDoc { doc: "Emits the events of this process as columns.", options: Vec::new() }
    }

    fn plan(&self, options: &mut Options<'_>, _site: &Site) -> Result<SourceBlueprint, Vec<Fault>> {
        let Settings { timed } = read_options(options)?;
        let number = |name: &str| Field::new(name, DataType::Int64, true);
        let mut fields = ["kind", "a", "b", "c", "d"].map(number).to_vec();
        fields.push(Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), true));
        let source = Columns { schema: Arc::new(Schema::new(fields)), timed, reader: Reader::default() };
        Ok(SourceBlueprint {
            output: RecordType::Table(Arc::clone(&source.schema)),
            replayable: true,
            endless: false,
            gives_event_time: timed,
            max_parallelism: None,
            make: Arc::new(move |rows| Ok(Box::new(HostedSource::new(source.clone(), rows)))),
            redistribute: redistribute_by::<Columns>(),
        })
    }
}

/// Adds up rows of columns.
#[derive(Clone, Default)]
struct Tally {
    seen: Part,
}

impl Sink for Tally {
    type In = Table;
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _: Vec<()>, _: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, table: Arc<Table>) -> Result {
        let columns: Vec<&[i64]> = table.batch().columns().iter().map(numbers).collect();
        for row in 0..table.rows() {
            let mut told = [0; 5];
            told.iter_mut().zip(&columns).for_each(|(told, column)| *told = column[row] as u64);
            self.seen.add(Row(told));
        }
        Ok(())
    }

    async fn prepare(&mut self, _: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

fn numbers(column: &ArrayRef) -> &[i64] {
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().values(),
        _ => column.as_primitive::<TimestampMillisecondType>().values(),
    }
}

/// The kind `column_tally`.
pub(super) struct TallyKind;

impl SinkKind for TallyKind {
    fn doc(&self) -> KindDoc {
        KindDoc { doc: "Adds up rows of columns.", options: Vec::new() }
    }

    fn plan(&self, _: &mut Options<'_>, _: &[RecordType], _: &Site) -> Result<SinkBlueprint, Vec<Fault>> {
        sink_blueprint(|| Ok(Tally::default()))
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }
}
