//! A derived record keeps what its fields have allocated when another is written over it.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use piton_actors::Record;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Named {
    r#type: String,
    prices: Vec<f64>,
    tags: BTreeMap<String, u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Tuple(String, u8);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Generic<T, U, const N: usize>
where
    U: PartialEq,
{
    first: T,
    second: Option<U>,
    #[serde(skip)]
    of: PhantomData<[U; N]>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
enum Event<T> {
    Login { from: String, user: T },
    Message(String, u8),
    Logout,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
#[record(crate = elsewhere::again)]
enum Single {
    One(String),
}

mod elsewhere {
    pub(crate) use piton_actors as again;
}

const LONG: &str = "a text that is long enough to need an allocation";

#[test]
fn a_struct_keeps_its_allocations() {
    let mut slot = Named { r#type: LONG.into(), prices: vec![1.0; 10], tags: BTreeMap::new() };
    let (text, prices) = (slot.r#type.as_ptr(), slot.prices.as_ptr());
    let next = Named { r#type: "tea".into(), prices: vec![2.0], tags: BTreeMap::from([("a".into(), 1)]) };
    slot.assign(&next);
    assert_eq!(slot, next);
    assert_eq!((slot.r#type.as_ptr(), slot.prices.as_ptr()), (text, prices));

    let mut slot = Tuple(LONG.into(), 1);
    let text = slot.0.as_ptr();
    slot.assign(&Tuple("tea".into(), 2));
    assert_eq!((&slot, slot.0.as_ptr()), (&Tuple("tea".into(), 2), text));

    let mut slot = Generic::<String, u8, 3> { first: LONG.into(), second: None, of: PhantomData };
    slot.assign(&Generic { first: "tea".into(), second: Some(1), of: PhantomData });
    assert_eq!((slot.first.as_str(), slot.second), ("tea", Some(1)));

    Unit.assign(&Unit);
}

#[test]
fn a_variant_that_stays_keeps_its_allocations() {
    let mut slot: Event<u64> = Event::Login { from: LONG.into(), user: 1 };
    let Event::Login { from, .. } = &slot else { panic!() };
    let address = from.as_ptr();
    slot.assign(&Event::Login { from: "tea".into(), user: 2 });
    assert_eq!(slot, Event::Login { from: "tea".into(), user: 2 });
    let Event::Login { from, .. } = &slot else { panic!() };
    assert_eq!(from.as_ptr(), address);
    for next in [Event::Message("tea".into(), 3), Event::Message("milk".into(), 4), Event::Logout, Event::Logout] {
        slot.assign(&next);
        assert_eq!(slot, next);
    }

    let mut slot = Single::One(LONG.into());
    slot.assign(&Single::One("tea".into()));
    assert_eq!(slot, Single::One("tea".into()));
}
