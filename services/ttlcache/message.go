package ttlcache

import (
	"encoding/json"

	"github.com/civitas-go/civitas/genserver"
)

type (
	// Get asks for a key's value, and counts as a use of it. The error is
	// ErrBadKey.
	Get struct {
		genserver.Returns[Found]
		Key string `json:"key"`
	}

	// Set puts a value under a key, in place of the one that was there. The error
	// is ErrBadKey or ErrBadTTL.
	Set struct {
		genserver.Returns[Stored]
		Key string `json:"key"`
		// Value is any, null too. One that a payload leaves out is null.
		Value any `json:"value"`
		// TTL is how many seconds the value lasts, from now on; at 0 it is over
		// already. Default Config.TTL. Of a time.Duration d it is new(d.Seconds()).
		TTL *float64 `json:"ttl,omitempty"`
	}

	// Delete takes a key's value out. The error is ErrBadKey.
	Delete struct {
		genserver.Returns[Deleted]
		Key string `json:"key"`
	}

	// Stats asks for the cache's Counts.
	Stats struct{ genserver.Returns[Counts] }
)

// Op is "get".
func (Get) Op() string { return "get" }

// Op is "set".
func (Set) Op() string { return "set" }

// Op is "delete".
func (Delete) Op() string { return "delete" }

// Op is "stats".
func (Stats) Op() string { return "stats" }

// Found answers a [Get].
type Found struct {
	// Hit says whether there was a value.
	Hit bool `json:"hit"`
	// Value is what was set; nil where there was none. Numbers that came over
	// the network are int64, uint64 or float64.
	//
	// It has no omitempty: MessagePack's would leave out false, 0 and "" too.
	Value any `json:"value"`
}

// MarshalJSON leaves out the value of a miss, and only of a miss.
func (f Found) MarshalJSON() ([]byte, error) {
	if !f.Hit {
		return []byte(`{"hit":false}`), nil
	}
	return json.Marshal(struct {
		Hit   bool `json:"hit"`
		Value any  `json:"value"`
	}{true, f.Value})
}

// Stored answers a [Set].
type Stored struct {
	// OK is true.
	OK bool `json:"ok"`
}

// Deleted answers a [Delete].
type Deleted struct {
	// Deleted says whether there was a value.
	Deleted bool `json:"deleted"`
}

// Counts answers [Stats]. All but Size and Capacity count since this life of
// the cache began.
type Counts struct {
	// Size is how many entries are in memory; some may be over by now.
	Size int `json:"size"`
	// Capacity is the Config's.
	Capacity int `json:"capacity"`
	// Hits and Misses are what Gets have come to.
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
	// Evicted are entries that made room for another key before their time.
	Evicted uint64 `json:"evicted"`
	// Expired are entries that were freed because they were over.
	Expired uint64 `json:"expired"`
}
