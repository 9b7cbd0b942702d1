package sessions

import "github.com/civitas-go/civitas/genserver"

type (
	// Create makes a session. The error is ErrExists, ErrFull, ErrBadID or
	// ErrBadTTL.
	//
	// A Create whose outcome is unknown can be sent again where it has an ID:
	// ErrExists says that the first one did it. Without an ID there may be two
	// sessions then, one of which nobody knows, until it is over.
	Create struct {
		genserver.Returns[Session]
		// ID is the session's. Default one that can't be guessed, which is what
		// a login wants.
		ID string `json:"id,omitempty"`
		// Data is what others are to know of the session. Default none.
		Data genserver.Map `json:"data,omitempty"`
		// TTL is how many seconds the session lasts, from now on and from each
		// Touch. Default Config.TTL. Of a time.Duration d it is new(d.Seconds()).
		TTL *float64 `json:"ttl,omitempty"`
	}

	// Get asks for a session; that does not make it last longer. The error is
	// ErrNotFound or ErrBadID.
	Get struct {
		genserver.Returns[Session]
		ID string `json:"id"`
	}

	// Touch has a session's time begin anew. The error is ErrNotFound, ErrBadID
	// or ErrBadTTL.
	Touch struct {
		genserver.Returns[Session]
		ID string `json:"id"`
		// Data takes the place of the session's, all of it. Default nil, which
		// leaves it.
		Data genserver.Map `json:"data"`
		// TTL is how many seconds the session lasts from now on and from each
		// later Touch. Default as before.
		TTL *float64 `json:"ttl,omitempty"`
	}

	// Delete ends a session. That there was none is no error. The error is ErrBadID.
	Delete struct {
		genserver.Returns[Deleted]
		ID string `json:"id"`
	}

	// Count asks how many sessions there are.
	Count struct{ genserver.Returns[Counted] }
)

// Op is "create".
func (Create) Op() string { return "create" }

// Op is "get".
func (Get) Op() string { return "get" }

// Op is "touch".
func (Touch) Op() string { return "touch" }

// Op is "delete".
func (Delete) Op() string { return "delete" }

// Op is "count".
func (Count) Op() string { return "count" }

// Session answers [Create], [Get] and [Touch].
type Session struct {
	// ID is what the session is found by.
	ID string `json:"id"`
	// Data is what Create or Touch gave, in the same process the very map: nobody
	// may change it.
	Data genserver.Map `json:"data,omitempty"`
	// TTL is how many seconds the session lasts from each Touch.
	TTL float64 `json:"ttl"`
	// ExpiresIn is how many seconds are left.
	ExpiresIn float64 `json:"expires_in"`
}

// Deleted answers a [Delete].
type Deleted struct {
	// Deleted says whether there was a session.
	Deleted bool `json:"deleted"`
}

// Counted answers a [Count].
type Counted struct {
	// Count is how many sessions there are, those that are over not counted.
	Count int `json:"count"`
}
