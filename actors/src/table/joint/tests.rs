use arrow::array::{AsArray, Int32Array, Int64Array, StringArray, TimestampSecondArray};
use arrow::datatypes::Int64Type;
use serde::{Deserialize, Serialize};

use super::*;
use crate::ErrorKind;
use crate::batch::Batch;
use crate::blueprint::conversion;
use crate::host::AnyOperator;
use crate::ids::Subtask;
use crate::record::RecordType;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sale {
    item: String,
    cents: i64,
    at: i64,
    note: Option<String>,
}

impl Record for Sale {}

fn sale(item: &str, cents: i64, at: i64) -> Sale {
    Sale { item: item.into(), cents, at, note: None }
}

fn run(blueprint: &OperatorBlueprint, batch: &Batch) -> (Vec<Batch>, Result, Box<dyn AnyOperator>) {
    let mut operator = (blueprint.make)(Subtask::single("joint"), 64).unwrap();
    operator.begin_entry(0);
    let done = operator.process(0, batch);
    let mut batches = Vec::new();
    operator.drain(&mut batches);
    (batches, done, operator)
}

fn schema_of(blueprint: &OperatorBlueprint) -> SchemaRef {
    let RecordType::Table(schema) = &blueprint.output else { panic!("tables are emitted") };
    Arc::clone(schema)
}

#[test]
fn rows_become_tables_and_rows_again_with_their_times() {
    let rows = vec![sale("tea", 250, 1), Sale { note: Some("warm".into()), ..sale("rye", -3, 2) }];
    let batch: Batch = Arc::new(Rows::with_times(rows.clone(), vec![10, 20]));
    let there = conversion(&RecordType::rows::<Sale>(), None).unwrap().unwrap();
    let schema = schema_of(&there);
    let columns: Vec<(&str, &DataType, bool)> =
        schema.fields().iter().map(|field| (field.name().as_str(), field.data_type(), field.is_nullable())).collect();
    let text = &DataType::Utf8;
    let number = &DataType::Int64;
    let wanted = [("item", text, false), ("cents", number, false), ("at", number, false), ("note", text, true)];
    assert_eq!(columns, wanted);
    assert_eq!(there.passes.as_ref().unwrap()[1], ("cents".to_string(), "cents".to_string()));
    let (tables, done, _) = run(&there, &batch);
    done.unwrap();
    let table = crate::table::table(&tables[0]).unwrap();
    assert_eq!(table.batch().column(1).as_primitive::<Int64Type>().values(), &[250, -3]);

    let back = conversion(&RecordType::Table(schema), Some(&RecordType::rows::<Sale>())).unwrap().unwrap();
    let (again, done, _) = run(&back, &tables[0]);
    done.unwrap();
    assert!(again[0].same(&*batch), "{:?}", crate::rows::<Sale>(&again[0]).unwrap().to_vec());
}

fn table(columns: Vec<(&str, ArrayRef)>) -> (SchemaRef, Batch) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.unwrap();
    (batch.schema(), Arc::new(Table::new(batch)))
}

#[test]
fn columns_are_found_by_name_and_cast_where_nothing_is_made_up() {
    let (schema, batch) = table(vec![
        ("at", Arc::new(TimestampSecondArray::from(vec![3, 4]))),
        ("more", Arc::new(Int64Array::from(vec![1, 1]))),
        ("cents", Arc::new(Int32Array::from(vec![7, 8]))),
        ("item", Arc::new(StringArray::from(vec!["a", "b"]))),
    ]);
    let back = conversion(&RecordType::Table(schema), Some(&RecordType::rows::<Sale>())).unwrap().unwrap();
    let (rows, done, _) = run(&back, &batch);
    done.unwrap();
    assert_eq!(crate::rows::<Sale>(&rows[0]).unwrap().to_vec(), [sale("a", 7, 3000), sale("b", 8, 4000)]);
}

#[test]
fn columns_that_lack_or_do_not_fit_are_named() {
    let wrong = |columns: Vec<(&str, ArrayRef)>| {
        let (schema, _) = table(columns);
        conversion(&RecordType::Table(schema), Some(&RecordType::rows::<Sale>())).err().unwrap()
    };
    let text = || Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
    let number = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let error = wrong(vec![("item", text()), ("cent", number()), ("at", number())]);
    assert!(error.contains("unknown column `cents`, did you mean `cent`?"), "{error}");
    let error = wrong(vec![("item", text()), ("cents", text()), ("at", number())]);
    assert!(error.contains("column `cents` is of type string, where bigint is needed"), "{error}");
    let error = conversion(&RecordType::rows::<u64>(), None).err().unwrap();
    assert!(error.contains("carries u64, which cannot be taken apart into columns"), "{error}");
    assert!(conversion(&RecordType::rows::<u64>(), Some(&RecordType::rows::<Sale>())).unwrap().is_none());
}

#[test]
fn a_row_that_does_not_fit_is_poison_alone() {
    let (schema, batch) = table(vec![
        ("item", Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]))),
        ("cents", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("at", Arc::new(Int64Array::from(vec![1, 2, 3]))),
    ]);
    let back = conversion(&RecordType::Table(schema), Some(&RecordType::rows::<Sale>())).unwrap().unwrap();
    let (_, done, operator) = run(&back, &batch);
    let error = done.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poison);
    assert!(error.message().contains("its column `item` is NULL"), "{error}");
    assert_eq!(operator.row(), 1, "the row to blame");
}
