use super::pool::POOL_MEMORY;
use super::*;

#[test]
fn a_finished_batch_is_filled_again() {
    let mut buffer = RowBuffer::<String>::new(2);
    let mut batches = Vec::new();
    buffer.push("a long enough text to need an allocation".into(), Some(1));
    buffer.push("b".into(), Some(2));
    buffer.drain(&mut batches);
    let address = rows::<String>(&batches[0]).unwrap()[0].as_ptr();
    batches.clear();

    buffer.push_from(&"short".to_string(), None);
    buffer.drain(&mut batches);
    let again = rows::<String>(&batches[0]).unwrap();
    assert_eq!(&again[..], ["short".to_string()]);
    assert_eq!(again[0].as_ptr(), address, "the text was written over the recycled one");
    assert_eq!(again.times(), None);
}

#[test]
fn all_that_was_held_for_a_replay_is_filled_again() {
    // Batches of 64 KiB.
    let record = (0u128, 1u128, 2u128, 3u128);
    let mut buffer = RowBuffer::new(1024);
    let mut batches = Vec::new();
    (0..1024 * 1024).for_each(|_| buffer.push(record, None));
    buffer.drain(&mut batches);
    assert_eq!(batches.iter().map(|batch| batch.memory()).sum::<usize>(), 64 << 20);
    batches.clear();
    let pool = Arc::clone(&buffer.pool);
    let kept = |pool: &Pool<_>| {
        let buffers = pool.buffers.lock().unwrap();
        (buffers.waiting.len(), buffers.memory)
    };
    assert_eq!(kept(&pool), (1024, 64 << 20));

    (0..2 * 1024 * 1024).for_each(|_| buffer.push(record, None));
    assert_eq!(kept(&pool), (0, 0));
    buffer.drain(&mut batches);
    batches.clear();
    assert_eq!(kept(&pool), (POOL_MEMORY >> 16, POOL_MEMORY), "but no more than that");
}

#[test]
fn what_was_emitted_since_a_mark_goes() {
    let mut buffer = RowBuffer::<u64>::new(2);
    buffer.push(1, Some(1));
    let mark = buffer.mark();
    [2, 3, 4].into_iter().for_each(|number| buffer.push(number, Some(2)));
    buffer.rewind(mark);
    buffer.push(5, None);
    let mut batches = Vec::new();
    buffer.drain(&mut batches);
    let got: Vec<_> = batches.iter().map(|batch| rows::<u64>(batch).unwrap().to_vec()).collect();
    assert_eq!(got, [[1], [5]]);
    assert_eq!(batches[1].times(), None);
}

#[test]
fn a_slice_is_the_same_as_a_batch_of_its_records() {
    let batch = Rows::with_times(vec![(1u8, "a".to_string()), (2, "b".into()), (3, "c".into())], vec![10, 20, 30]);
    let slice = batch.slice(1..3);
    let same = Rows::with_times(vec![(2u8, "b".to_string()), (3, "c".into())], vec![20, 30]);
    assert!(slice.same(&same) && same.same(&*slice));
    assert!(!slice.same(&batch));
    assert!(!slice.same(&Rows::new(same.to_vec())), "without times");
    assert!(!slice.same(&Rows::with_times(vec![(2u8, "b".to_string()), (3, "d".into())], vec![20, 30])));
    assert!(!slice.same(&Rows::with_times(vec![2u64, 3], vec![20, 30])), "of another type");
    assert!(Rows::new(vec![f64::NAN]).same(&Rows::new(vec![f64::NAN])));
    assert!(batch.slice(1..1).is_empty());
}

#[test]
fn a_record_is_shown_as_json() {
    assert_eq!(Rows::new(vec![(1u8, Some("a \"b\"".to_string())), (2, None)]).show(0), r#"[1,"a \"b\""]"#);
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Odd(std::collections::BTreeMap<(u8, u8), u8>);
    impl Record for Odd {}
    let shown = Rows::new(vec![Odd([((1, 2), 3)].into())]).show(0);
    assert_eq!(shown, r#""this record cannot be written as JSON: key must be a string""#);
}

#[test]
fn scatter_keeps_order_times_and_batch_size() {
    let batch: Batch = Arc::new(Rows::with_times(vec![1u64, 2, 3, 4, 5], vec![10, 20, 30, 40, 50]));
    let mut scatter = <u64 as Output>::scatter(2, 2);
    let mut ready = Vec::new();
    scatter.add(&batch, &[0, 1, 0, 0, 1], &mut ready);
    scatter.flush(&mut ready);
    let got: Vec<(usize, Vec<u64>, Vec<i64>)> = ready
        .iter()
        .map(|(channel, batch)| (*channel, rows::<u64>(batch).unwrap().to_vec(), batch.times().unwrap().to_vec()))
        .collect();
    assert_eq!(got, [(0, vec![1, 3], vec![10, 30]), (1, vec![2, 5], vec![20, 50]), (0, vec![4], vec![40])]);
}

#[test]
fn many_records_at_once_are_as_one_by_one() {
    let (mut one_by_one, mut at_once) = (RowBuffer::<u64>::new(7), RowBuffer::<u64>::new(7));
    let mut next = 0;
    // Twice, so that the second time goes into recycled buffers; what has no time comes between.
    for _ in 0..2 {
        let (mut expected, mut batches) = (Vec::new(), Vec::new());
        for count in [0, 3, 1, 20, 7, 2, 14] {
            let records: Vec<(Timestamp, u64)> =
                (next..next + count).map(|number| (number as i64, number * 10)).collect();
            next += count;
            records.iter().for_each(|(time, record)| one_by_one.push(*record, Some(*time)));
            assert_eq!(at_once.extend(records.into_iter()), count as usize);
            if count == 2 {
                one_by_one.push(0, None);
                at_once.push(0, None);
            }
        }
        one_by_one.drain(&mut expected);
        at_once.drain(&mut batches);
        assert_eq!(batches.len(), expected.len());
        for (batch, expected) in batches.iter().zip(&expected) {
            assert_eq!(batch.times(), expected.times());
            assert!(batch.same(&**expected));
        }
    }
}
