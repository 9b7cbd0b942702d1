package guide_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// The seats of a hall, as the chapters on servers and calls have them.

type (
	Book struct {
		genserver.Returns[Booked]
		Guest string `json:"guest"`
	}
	Booked struct {
		Seat int `json:"seat"`
	}
	Cancel struct {
		genserver.OneWay
		Seat int `json:"seat"`
	}
	expire struct {
		genserver.Signal
		Seat int
	}
)

func (Book) Op() string   { return "book" }
func (Cancel) Op() string { return "cancel" }
func (expire) Op() string { return "expire" }

type Hall struct {
	Seats int           `json:"seats"`
	Hold  time.Duration `json:"hold"`
}

type seats struct {
	hold   time.Duration
	guests []string // by seat, "" for a free one
}

func openHall(_ *genserver.Context, hall Hall) (*seats, error) {
	if hall.Seats < 1 {
		return nil, fmt.Errorf("seats: %d, a hall has at least one", hall.Seats)
	}
	return &seats{hold: hall.Hold, guests: make([]string, hall.Seats)}, nil
}

var ErrNoSeat = genserver.NewError("booking.no_seat", "no seat left")

func (s *seats) book(ctx *genserver.Context, b Book) (Booked, error) {
	for seat, guest := range s.guests {
		if guest == "" {
			s.guests[seat] = b.Guest
			ctx.SetTimer(seat, s.hold, expire{Seat: seat})
			return Booked{Seat: seat}, nil
		}
	}
	return Booked{}, ErrNoSeat
}

func (s *seats) cancel(ctx *genserver.Context, c Cancel) error {
	if c.Seat >= 0 && c.Seat < len(s.guests) {
		ctx.CancelTimer(c.Seat)
		s.guests[c.Seat] = ""
	}
	return nil
}

func (s *seats) expire(_ *genserver.Context, e expire) error {
	s.guests[e.Seat] = ""
	return nil
}

var Seats = genserver.Define("booking.Seats", openHall,
	genserver.HandleCall((*seats).book),
	genserver.HandleCast((*seats).cancel),
	genserver.HandleInfo((*seats).expire))

func Example_seats() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)
	_, err := sys.Start(ctx, "seats", Seats.With(Hall{Seats: 1, Hold: time.Minute}), genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}

	booked, err := genserver.Call(ctx, sys.Ref("seats"), Book{Guest: "ada"})
	fmt.Println(booked, err)
	_, err = genserver.Call(ctx, sys.Ref("seats"), Book{Guest: "bob"})
	fmt.Println(err)

	err = sys.Ref("seats").Cast(ctx, Cancel{Seat: booked.Seat})
	fmt.Println(err)
	reply, err := genserver.Call(ctx, sys.Ref("seats"), genserver.Map{"type": "book", "guest": "bob"})
	fmt.Println(reply, err)
	// Output:
	// {0} <nil>
	// seats: no seat left
	// <nil>
	// map[seat:0] <nil>
}

func TestASeatIsHeldForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
		_, err := sys.Start(ctx, "seats", Seats.With(Hall{Seats: 1, Hold: 10 * time.Minute}), genserver.SpawnOptions{})
		if err != nil {
			t.Fatal(err)
		}

		if _, err := genserver.Call(ctx, sys.Ref("seats"), Book{Guest: "ada"}); err != nil {
			t.Errorf("the first guest: got %v, want a seat", err)
		}
		time.Sleep(10 * time.Minute) //nolint:forbidigo // virtual: it takes no time
		synctest.Wait()
		if _, err := genserver.Call(ctx, sys.Ref("seats"), Book{Guest: "bob"}); err != nil {
			t.Errorf("after the hold: got %v, want a seat", err)
		}
		if err := sys.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
}
