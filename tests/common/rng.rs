//! A small seeded generator of pseudo-random numbers (SplitMix64, Steele, Lea and Flood 2014):
//! the same seed gives the same program on every platform and with every dependency version.

use super::types::U256;

#[derive(Clone, Debug)]
pub struct Rng {
    /// What is drawn first, from the end to the beginning.
    given: Vec<u8>,
    state: u64,
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self {
            given: Vec::new(),
            state: seed,
        }
    }

    /// Draws the choices from these bytes, and goes on as seed 0 does when there are no more: so a
    /// fuzzer that changes a byte changes a choice.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            given: bytes.iter().rev().copied().collect(),
            state: 0,
        }
    }

    /// So many bytes of those given, or, if there are none, of the generator's.
    fn draw(&mut self, bytes: usize) -> u64 {
        if self.given.is_empty() {
            return self.generate();
        }
        (0..bytes).fold(0, |drawn, _| {
            drawn << 8 | u64::from(self.given.pop().unwrap_or(0))
        })
    }

    pub fn next_u64(&mut self) -> u64 {
        self.draw(8)
    }

    fn generate(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            return 0;
        }
        let bytes = match bound {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 8,
        };
        (self.draw(bytes) % bound as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.draw(1) as u8).collect()
    }

    pub fn u256(&mut self) -> U256 {
        U256::from_limbs(std::array::from_fn(|_| self.next_u64()))
    }

    /// A word as programs use them: mostly edges and small offsets, now and then anything.
    pub fn word(&mut self) -> U256 {
        match self.below(12) {
            0 => U256::ZERO,
            1 => U256::from(1),
            2 => U256::from(self.below(64)),
            3 => U256::from(self.below(8) * 32),
            4 => U256::from(1) << self.below(256),
            5 => (U256::from(1) << self.below(256)) - U256::from(1),
            6 => U256::MAX - U256::from(self.below(40)),
            7 => (U256::MAX >> 1usize) + U256::from(self.below(3)),
            8 => U256::from(self.next_u64()),
            9 => U256::from(self.below(0x1_0000)),
            10 => U256::MAX << self.below(256),
            _ => self.u256(),
        }
    }

    /// An offset or length into memory or data that seldom costs all the gas.
    pub fn offset(&mut self) -> U256 {
        match self.below(64) {
            0 => self.word(),
            1..=2 => U256::from(0x1000 + self.below(0x4000)),
            3..=16 => U256::ZERO,
            17..=40 => U256::from(self.below(12) * 32),
            _ => U256::from(self.below(300)),
        }
    }
}
