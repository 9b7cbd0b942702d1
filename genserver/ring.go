package genserver

// ring is a queue that grows with need.
type ring struct {
	slots []slot // its length is a power of two
	head  int32
	n     int32
}

const smallestRing = 4

func (r *ring) push(s *slot) {
	if int(r.n) == len(r.slots) {
		r.grow()
	}
	*r.at(r.n) = *s
	r.n++
}

// at is the place of the i-th message.
func (r *ring) at(i int32) *slot { return &r.slots[int(r.head+i)&(len(r.slots)-1)] }

func (r *ring) grow() {
	slots := make([]slot, max(smallestRing, 2*len(r.slots)))
	for i := range r.n {
		slots[i] = *r.at(i)
	}
	r.slots, r.head = slots, 0
}

// pop takes the first message out, and reports false if there is none.
func (r *ring) pop(s *slot) bool {
	if r.n == 0 {
		return false
	}
	first := r.at(0)
	*s = *first
	*first = slot{}
	r.head = int32(int(r.head+1) & (len(r.slots) - 1))
	r.n--
	return true
}

func (r *ring) each(look func(*slot)) {
	for i := range r.n {
		look(r.at(i))
	}
}
