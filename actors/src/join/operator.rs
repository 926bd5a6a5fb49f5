//! Joins of a user's own records.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::how::How;
use super::matcher::{Found, Matcher};
use crate::blueprint::{
    Fault, KindDoc, OperatorBlueprint, OperatorKind, Options, Site, check_inputs, operator_blueprint, read_options,
};
use crate::late::{self, count_late};
use crate::record::{Either, Inputs, Record, RecordType};
use crate::state::Declared;
use crate::{Context, Error, Key, Operator, Result, SideOutput, SideOutputDeclared, Timer, Timestamp};

/// A join of two inputs. Register it with `registry.join::<Enrich>("enrich")`, or run it as [`Joining`] in a harness.
pub trait Join: Send + 'static {
    /// What the first input carries.
    type Left: Record;
    /// What the second input carries.
    type Right: Record;
    /// What a pair becomes.
    type Out: Record;

    /// Returns which rows of the same key find each other.
    fn how(&self) -> How;

    /// Returns the key of a left row; one with [`Key::None`] finds nobody.
    fn left_key(&self, left: &Self::Left) -> Key;

    /// Returns the key of a right row; one with [`Key::None`] finds nobody.
    fn right_key(&self, right: &Self::Right) -> Key;

    /// Makes one record of a pair; of a left row alone if no partner came, which happens only with [`How::left`].
    fn join(&self, left: &Self::Left, right: Option<&Self::Right>) -> Self::Out;
}

/// The operator that a [`Join`] makes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Joining<J>(pub J);

/// Makes records of pairs, to be emitted when the state is not borrowed any more.
struct Made<'a, J: Join> {
    join: &'a J,
    made: Vec<(J::Out, Option<Timestamp>)>,
}

impl<J: Join> Found<J::Left, J::Right> for Made<'_, J> {
    fn pair(&mut self, left: &J::Left, right: Option<&J::Right>, at: Option<Timestamp>) -> Result {
        self.made.push((self.join.join(left, right), at));
        Ok(())
    }
}

impl<J: Join> Joining<J> {
    /// The left rows that are late.
    pub const LATE_LEFT: SideOutput<J::Left> = SideOutput::new(late::LATE_LEFT);
    /// The right rows that are late.
    pub const LATE_RIGHT: SideOutput<J::Right> = SideOutput::new(late::LATE_RIGHT);

    fn matcher(&self) -> Matcher<J::Left, J::Right> {
        Matcher::new(self.0.how(), |_, _| true)
    }

    fn emit(
        &self,
        ctx: &mut Context<J::Out>,
        find: impl FnOnce(&mut Context<J::Out>, &mut Made<'_, J>) -> Result,
    ) -> Result {
        let mut made = Made { join: &self.0, made: Vec::new() };
        find(ctx, &mut made)?;
        for (record, at) in made.made {
            ctx.output().push(record, at);
        }
        Ok(())
    }
}

impl<J: Join> Operator for Joining<J> {
    type In = Either<J::Left, J::Right>;
    type Out = J::Out;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, row: Either<&J::Left, &J::Right>) -> Key {
        match row {
            Either::Left(left) => self.0.left_key(left),
            Either::Right(right) => self.0.right_key(right),
        }
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn states(&self) -> Vec<Declared> {
        self.matcher().states()
    }

    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        let (left, right) = self.matcher().late();
        let left = left.then(|| Self::LATE_LEFT.into());
        left.into_iter().chain(right.then(|| Self::LATE_RIGHT.into())).collect()
    }

    fn open(&mut self, _ctx: &mut Context<J::Out>) -> Result {
        self.0.how().check().map_err(Error::invalid)
    }

    fn process(&mut self, row: Either<&J::Left, &J::Right>, ctx: &mut Context<J::Out>) -> Result {
        let (is_keyed, matcher) = (!ctx.key().is_none(), self.matcher());
        let is_late = matcher.is_late(ctx, matches!(row, Either::Left(_)))?;
        let row = match row {
            Either::Left(left) => Either::Left(left.clone()),
            Either::Right(right) => Either::Right(right.clone()),
        };
        if is_late {
            count_late(1, ctx)?;
            return match row {
                Either::Left(left) => ctx.emit_to(Self::LATE_LEFT, left),
                Either::Right(right) => ctx.emit_to(Self::LATE_RIGHT, right),
            };
        }
        self.emit(ctx, |ctx, made| matcher.take(ctx, row, is_keyed, made))
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<J::Out>) -> Result {
        self.emit(ctx, |ctx, made| self.matcher().timer(ctx, timer.at, made))
    }
}

/// The kind of join whose options are the fields of `J` itself.
pub struct JoinOf<J> {
    doc: KindDoc,
    marker: std::marker::PhantomData<fn() -> J>,
}

impl<J> JoinOf<J> {
    /// Makes the kind, with what `piton list` should say of it.
    pub fn new(doc: KindDoc) -> Self {
        JoinOf { doc, marker: std::marker::PhantomData }
    }
}

impl<J: Join> JoinOf<J>
where
    J: DeserializeOwned,
{
    fn read(options: &mut Options<'_>) -> Result<J, Vec<Fault>> {
        let join: J = read_options(options)?;
        join.how().check().map_err(|message| vec![Fault::new("", message)])?;
        Ok(join)
    }
}

impl<J: Join + DeserializeOwned + Clone + Sync> OperatorKind for JoinOf<J> {
    fn doc(&self) -> KindDoc {
        self.doc.clone()
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<OperatorBlueprint, Vec<Fault>> {
        let join = Self::read(options)?;
        check_inputs::<Either<J::Left, J::Right>>(inputs)?;
        operator_blueprint(Arc::new(move || Ok(Joining(join.clone()))))
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        Either::<J::Left, J::Right>::ports()
    }

    /// Asks a join with made-up options, if they can be made up.
    fn side_outputs(&self) -> Vec<&'static str> {
        crate::probe::side_outputs::<Joining<J>>()
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        Self::read(options).err().unwrap_or_default()
    }
}
