package transport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// keep owns the connection until Close: it waits for the loss of a link, and
// dials until there is another.
func (c *NATS) keep(l *natsLink) {
	defer close(c.ended)
	defer c.retire.Wait()
	round := 0
	for {
		select {
		case <-l.ctx.Done():
		case <-c.alive.Done():
			l.close()
			return
		}
		if time.Since(l.began) > c.longestWait() {
			round = 0 // it held; else the server took us and dropped us, and must not be hammered
		}
		lost := l
		c.detach(lost)
		c.retire.Go(func() { c.bury(lost) })
		if l = c.redial(lost, &round); l == nil {
			return
		}
	}
}

// detach tells everyone that there is no connection.
func (c *NATS) detach(l *natsLink) {
	cause := context.Cause(l.ctx)
	c.disconnects.Add(1)
	c.attaching.Lock()
	c.attached = nil
	c.attaching.Unlock()
	c.state.CompareAndSwap(l.state, &state{err: fmt.Errorf("%w: %w", ErrNotConnected, cause)}) // if it was lost before it was announced
	c.opts.Logger.Warn("NATS connection lost", "conn", c.opts.Name, "server", l.to.String(), "error", cause)
	if c.opts.OnDisconnect != nil {
		c.opts.OnDisconnect(cause)
	}
}

// redial returns the next link, or nil if the NATS was closed first.
func (c *NATS) redial(lost *natsLink, round *int) *natsLink {
	began, servers, told := time.Now(), c.servers(lost), ""
	for {
		if !c.pause(*round) {
			return nil
		}
		*round++
		l, err := c.dialRound(c.alive, servers)
		if err == nil {
			c.reconnects.Add(1)
			c.opts.Logger.Info("connected to NATS again",
				"conn", c.opts.Name, "server", l.to.String(), "after", time.Since(began))
			if c.opts.OnReconnect != nil {
				c.opts.OnReconnect()
			}
			return l
		}
		if c.alive.Err() != nil {
			return nil
		}
		if refused(err) {
			*round = max(*round, steps) // it will not soon change its mind
		}
		c.unavailable(err)
		if text := err.Error(); text != told {
			told = text
			c.opts.Logger.Warn("dialling NATS again, without success so far", "conn", c.opts.Name, "error", err)
		}
	}
}

// unavailable has senders told the newest reason.
func (c *NATS) unavailable(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.state.Store(&state{err: err})
	}
}

func refused(err error) bool { return errors.Is(err, ErrRefused) || errors.Is(err, ErrBadAuth) }

// steps is how often the wait doubles.
const steps = 5

func (c *NATS) longestWait() time.Duration { return c.opts.ReconnectWait << (steps - 1) }

// pause waits before a round of dialling, whose number counts from zero. It
// reports false if the NATS was closed.
func (c *NATS) pause(round int) bool {
	t := time.NewTimer(wait(c.opts.ReconnectWait, round))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.alive.Done():
		return false
	}
}

// wait is a fifth of base at most for the first round; from there on it doubles.
func wait(base time.Duration, round int) time.Duration {
	if round == 0 {
		return rand.N(base/5 + 1)
	}
	longest := base << (min(round, steps) - 1)
	return longest - rand.N(longest/2+1)
}

// dialRound tries each server once, and returns a link that can be used.
func (c *NATS) dialRound(ctx context.Context, servers []natsServer) (*natsLink, error) {
	var errs []error
	for _, to := range servers {
		l, err := c.connect(ctx, to)
		if err == nil {
			if err = c.attach(ctx, l); err == nil {
				return l, nil
			}
			l.close()
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, tellingOf(errs)
}

// tellingOf picks what to tell of a round: being refused says more than not
// being answered.
func tellingOf(errs []error) error {
	if i := slices.IndexFunc(errs, refused); i >= 0 {
		return errs[i]
	}
	return errs[len(errs)-1]
}

// attach makes all subscriptions on a link, and when the server has them
// announces it. Close may come first.
func (c *NATS) attach(ctx context.Context, l *natsLink) error {
	defer close(l.ready)
	c.attaching.Lock()
	for s := range c.subs {
		if err := s.attach(l); err != nil {
			c.attaching.Unlock()
			return fmt.Errorf("%w: NATS %s: subscribe to %s: %w", ErrNotConnected, l.to, s.subject, err)
		}
	}
	c.attached = l
	c.attaching.Unlock()
	within, cancel := context.WithTimeout(ctx, c.opts.DialTimeout)
	defer cancel()
	err := l.flush(within)
	if err == nil {
		err = c.announce(l)
	}
	if err != nil {
		c.attaching.Lock()
		c.attached = nil
		c.attaching.Unlock()
		return fmt.Errorf("%w: NATS %s: %w", ErrNotConnected, l.to, err)
	}
	return nil
}

func (c *NATS) announce(l *natsLink) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.newest = l
	c.state.Store(l.state)
	return nil
}

// stillBusy is how often is looked, at first, whether a subscription's queue is
// empty; idly how often in the end.
const (
	stillBusy = 200 * time.Microsecond
	idly      = 20 * time.Millisecond
)

// bury lets what had arrived on a lost link be delivered, and closes it.
func (c *NATS) bury(l *natsLink) {
	defer l.close()
	for every := stillBusy; ; every = min(2*every, idly) {
		left := 0
		for _, life := range l.all() {
			if life.idle() {
				life.finish()
			} else {
				left++
			}
		}
		if left == 0 {
			return
		}
		t := time.NewTimer(every)
		select {
		case <-t.C:
		case <-c.alive.Done():
			t.Stop()
			return
		}
	}
}
