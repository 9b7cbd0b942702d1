package transporttest

import (
	"errors"
	"sync"
	"testing"

	"github.com/civitas-go/civitas/transport"
)

func closeWhileBusy(t *testing.T, d Dial) {
	server := dial(t, d, "server")
	subscribe(t, server, "echo", echo(server))
	client := d("client")
	got := make(chan struct{}, 1)
	subscribe(t, client, "noise", func(transport.Msg) {
		select {
		case got <- struct{}{}:
		default:
		}
	})
	ctx := wait(t)
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for client.Publish(transport.Msg{Subject: "noise"}) == nil {
			}
		})
		busy.Go(func() {
			for {
				if _, err := client.Request(ctx, transport.Msg{Subject: "echo"}); err != nil {
					if !errors.Is(err, transport.ErrClosed) && !errors.Is(err, transport.ErrDisconnected) {
						t.Errorf("request: got %v, want %v or %v", err, transport.ErrClosed, transport.ErrDisconnected)
					}
					return
				}
			}
		})
	}
	await(t, got, "noise")
	if err := client.Close(ctx); err != nil {
		t.Errorf("close: got %v, want nil", err)
	}
	busy.Wait()
}

func closeFailsRequests(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	arrived := make(chan struct{}, 1)
	subscribe(t, server, "never", func(transport.Msg) { arrived <- struct{}{} })
	ctx := wait(t)
	failed := make(chan error, 1)
	go func() {
		_, err := client.Request(ctx, transport.Msg{Subject: "never"})
		failed <- err
	}()
	await(t, arrived, "the request")
	if err := client.Close(ctx); err != nil {
		t.Errorf("close: got %v, want nil", err)
	}
	if err := await(t, failed, "the request's end"); !errors.Is(err, transport.ErrDisconnected) {
		t.Errorf("got %v, want %v", err, transport.ErrDisconnected)
	}
}

func afterClose(t *testing.T, d Dial) {
	c := d("conn")
	s := subscribe(t, c, "x", func(transport.Msg) {})
	for range 2 {
		if err := c.Close(wait(t)); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
	}
	_, reqErr := c.Request(wait(t), transport.Msg{Subject: "x"})
	_, subErr := c.Subscribe("x", func(transport.Msg) {})
	for what, err := range map[string]error{
		"publish":   c.Publish(transport.Msg{Subject: "x"}),
		"request":   reqErr,
		"subscribe": subErr,
		"flush":     c.Flush(wait(t)),
	} {
		if !errors.Is(err, transport.ErrClosed) {
			t.Errorf("%s: got %v, want %v", what, err, transport.ErrClosed)
		}
	}
	if err := s.Drain(wait(t)); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("drain: got %v, want %v", err, transport.ErrClosed)
	}
}
