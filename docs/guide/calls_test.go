package guide_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// bookPatiently sends again only what may be sent again.
func bookPatiently(ctx context.Context, hall genserver.Ref, guest string) (Booked, error) {
	for {
		booked, err := genserver.Call(ctx, hall, Book{Guest: guest}, genserver.WithTimeout(2*time.Second))
		switch {
		case err == nil:
			return booked, nil
		case errors.Is(err, ErrNoSeat):
			return Booked{}, err // an answer, and a final one
		case !genserver.NotDelivered(err):
			return Booked{}, err // it may have run: ask before booking twice
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return Booked{}, err
		}
	}
}

// bookBoth has two calls in flight at once.
func bookBoth(ctx context.Context, left, right genserver.Ref, guest string) error {
	first := genserver.CallAsync(ctx, left, Book{Guest: guest})
	second := genserver.CallAsync(ctx, right, Book{Guest: guest})
	_, err1 := first.Await(ctx)
	_, err2 := second.Await(ctx)
	return errors.Join(err1, err2)
}

func Example_calls() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)
	for _, hall := range []string{"left", "right"} {
		sys.Start(ctx, hall, Seats.With(Hall{Seats: 2, Hold: time.Hour}), genserver.SpawnOptions{})
	}
	fmt.Println(bookBoth(ctx, sys.Ref("left"), sys.Ref("right"), "ada"))
	fmt.Println(bookPatiently(ctx, sys.Ref("left"), "bob"))
	fmt.Println(bookPatiently(ctx, sys.Ref("left"), "eve"))
	// Output:
	// <nil>
	// {1} <nil>
	// {0} left: no seat left
}
