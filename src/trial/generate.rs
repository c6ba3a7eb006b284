//! Inputs: first what the code and its callers suggest, then changes of what led somewhere new.

use super::{
    code::Clues,
    input::Input,
    rng::{Rng, at_edges},
    script::{CALLER, SELF, word_of},
};
use alloy_primitives::{Bytes, U256};
use revm_interpreter::primitives::hardfork::SpecId;

/// Gas of a run that is to get somewhere, one of these.
const PLENTY: [u64; 4] = [100_000, 200_000, 400_000, 1_000_000];

/// Bytes of call data, at most.
const MAX_DATA: usize = 2048;

/// Makes inputs (R2).
pub(super) struct Generator<'a> {
    pub(super) rng: Rng,
    clues: &'a Clues,
    has_reservoir: bool,
    /// What is to be run first, the last of it first.
    queue: Vec<Vec<u8>>,
    /// Inputs that led to something new, and the gas that each used.
    corpus: Vec<(Input, u64)>,
}

impl<'a> Generator<'a> {
    pub(super) fn new(seed: u64, clues: &'a Clues, spec_id: SpecId, samples: &[Bytes]) -> Self {
        let mut this = Self {
            rng: Rng::new(seed),
            clues,
            has_reservoir: spec_id.is_enabled_in(SpecId::AMSTERDAM),
            queue: Vec::new(),
            corpus: Vec::new(),
        };
        let mut first: Vec<Vec<u8>> = samples
            .iter()
            .map(|sample| sample[..sample.len().min(MAX_DATA)].to_vec())
            .collect();
        first.push(Vec::new());
        let mut selectors = clues.selectors.clone();
        // In another order each time, as the time may not be enough for all.
        for i in (1..selectors.len()).rev() {
            let other = this.rng.below(i as u64 + 1);
            selectors.swap(i, other as usize);
        }
        for selector in &selectors {
            first.push(this.call(*selector));
        }
        first.push(vec![0; 3]);
        first.push((0..600u32).map(|n| n as u8).collect());
        if let Some(selector) = selectors.first() {
            first.push(selector.to_vec());
            let mut long = this.call(*selector);
            long.resize(1200, 0xff);
            first.push(long);
        }
        first.reverse();
        this.queue = first;
        this
    }

    /// The next input.
    pub(super) fn next(&mut self) -> Input {
        if let Some(calldata) = self.queue.pop() {
            return self.around(calldata);
        }
        // Now and then a function from its start: what it was called with first may have led nowhere.
        if !self.rng.one_in(6)
            && let Some((input, spent)) = self.rng.pick(&self.corpus).cloned()
        {
            return self.change(input, spent);
        }
        let calldata = self.any();
        self.around(calldata)
    }

    /// Notes an input that led to something new, and used so much gas.
    pub(super) fn found(&mut self, input: Input, spent: u64) {
        self.corpus.push((input, spent));
    }

    /// An input with this data, and what a call usually has.
    fn around(&mut self, calldata: Vec<u8>) -> Input {
        let rng = &mut self.rng;
        Input {
            calldata: calldata.into(),
            in_memory: rng.one_in(4),
            value: if rng.one_in(8) {
                U256::from(1 + rng.below(1000))
            } else {
                U256::ZERO
            },
            gas: rng.pick(&PLENTY).copied().unwrap_or(PLENTY[0]),
            reservoir: if self.has_reservoir && rng.one_in(2) {
                rng.below(1_000_000)
            } else {
                0
            },
            is_static: rng.one_in(16),
            seed: rng.next(),
            fails_at: None,
            switching: None,
        }
    }

    /// Any data.
    fn any(&mut self) -> Vec<u8> {
        match self.rng.pick(&self.clues.selectors).copied() {
            Some(selector) if !self.rng.one_in(8) => self.call(selector),
            _ => {
                let len = self.rng.below(260);
                (0..len).map(|_| self.rng.next() as u8).collect()
            }
        }
    }

    /// A call of the function with this selector.
    fn call(&mut self, selector: [u8; 4]) -> Vec<u8> {
        let mut data = selector.to_vec();
        let words = 1 + self.rng.below(8);
        let dynamic = self.rng.one_in(3);
        for i in 0..words {
            let word = if dynamic && self.rng.one_in(2) {
                // The offset of an argument of varying length, as the ABI has it.
                U256::from(32 * (1 + self.rng.below(words)))
            } else {
                self.word(i)
            };
            data.extend_from_slice(&word.to_be_bytes::<32>());
        }
        data
    }

    /// An argument.
    fn word(&mut self, position: u64) -> U256 {
        let rng = &mut self.rng;
        match rng.below(15) {
            0 | 1 => word_of(CALLER),
            2 => word_of(SELF),
            3 => U256::from(rng.below(4)),
            4 => U256::from(rng.below(256)),
            5 => U256::from(rng.next() >> 20),
            6 => U256::MAX >> rng.below(256) as usize,
            7 => U256::ZERO,
            8 => rng.word() >> 96usize,
            9 => rng.word(),
            10 => U256::from(position + 1),
            11..=13 => at_edges(rng.next()),
            _ => {
                let near = U256::from(rng.below(3));
                let constant = rng.pick(&self.clues.constants).copied();
                constant.unwrap_or(U256::ONE).wrapping_add(near) - U256::ONE.min(near)
            }
        }
    }

    /// The input, which used so much gas, with one thing changed, or two.
    fn change(&mut self, mut input: Input, spent: u64) -> Input {
        for _ in 0..1 + self.rng.below(2) {
            let len = input.calldata.len();
            let words = len.saturating_sub(4).div_ceil(32) as u64;
            match self.rng.below(12) {
                0 | 1 => input.seed = self.rng.next(),
                2..=5 if words > 0 => {
                    let at = 4 + 32 * self.rng.below(words) as usize;
                    let word = self.word(at as u64 / 32);
                    let mut data = input.calldata.to_vec();
                    let end = (at + 32).min(len);
                    data[at..end].copy_from_slice(&word.to_be_bytes::<32>()[..end - at]);
                    input.calldata = data.into();
                }
                6 if len < MAX_DATA => {
                    let word = self.word(words);
                    let data = [&input.calldata[..], &word.to_be_bytes::<32>()].concat();
                    input.calldata = data.into();
                }
                7 if len > 0 => {
                    let keep = self.rng.below(len as u64 + 1) as usize;
                    input.calldata = input.calldata.slice(..keep);
                }
                8 => {
                    input.value = match self.rng.below(3) {
                        0 => U256::ZERO,
                        1 => U256::from(self.rng.below(1 << 20)),
                        _ => self.rng.word() >> 170usize,
                    };
                    input.is_static = self.rng.one_in(8);
                }
                9 => input.gas = self.rng.below(spent + 1),
                10 => input.gas = self.near(spent),
                _ => {
                    let Input { calldata, .. } = input;
                    input = self.around(calldata.to_vec());
                    if self.rng.one_in(3) {
                        input.fails_at = Some(1 + self.rng.below(6) as u32);
                    }
                    if self.rng.one_in(2) {
                        input.switching = Some(self.rng.next());
                    }
                }
            }
        }
        input
    }

    /// Gas a little less or more than what was used: enough for what is charged ahead, or not.
    fn near(&mut self, spent: u64) -> u64 {
        let by = self.rng.below(1200);
        match self.rng.below(3) {
            0 => spent + by,
            _ => spent.saturating_sub(by / 4),
        }
    }

    /// What else is run where a new way was found that used so much gas: the gas runs out on it, and
    /// the sides change on it.
    pub(super) fn variants(&mut self, input: &Input, spent: u64) -> [Input; 3] {
        let early = Input {
            gas: self.rng.below(spent),
            ..input.clone()
        };
        let late = Input {
            gas: self.near(spent),
            switching: self.rng.one_in(2).then(|| self.rng.next()),
            ..input.clone()
        };
        let switching = Input {
            switching: Some(self.rng.next()),
            ..input.clone()
        };
        [early, late, switching]
    }
}
