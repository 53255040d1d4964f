package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients/amqp"
)

// A broker that has sent as many messages as may be in hand, and is answered for
// them at odd times while large ones are under way, sends all others too. RabbitMQ
// 3 sends more than it may where it is asked for more meanwhile.
func TestRabbitSendsOnAfterAPause(t *testing.T) {
	t.Parallel()
	broker := startRabbit(t)
	for name, prefetch := range map[string]int{"one": 1, "few": 3, "some": 8, "many": 50} {
		t.Run(name, func(t *testing.T) {
			broker.queue(name, nil, "pause."+name)
			total := max(6*prefetch, 30)
			for i := range total {
				broker.send091("pause."+name, fmt.Sprintf("%s-%d", name, i), strings.Repeat("x", 900<<10))
			}
			source, err := amqp.New(amqp.Options{
				Protocol: amqp.V10, URLs: []string{broker.url()}, Username: "guest",
				PasswordFile: filepath.Join(writeFiles(t, map[string]string{"password": "guest"}), "password"), Addresses: []string{"/amq/queue/" + name}, Prefetch: prefetch,
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			const spread = 50 * time.Millisecond // of the time that each takes to be stored elsewhere
			var held, done atomic.Int64
			full := make(chan struct{}) // as many are held as may be
			source.Run(ctx, func(ctx context.Context, d amqp.Delivery) {
				if held.Add(1) == int64(prefetch) {
					close(full)
				}
				select {
				case <-full:
				case <-ctx.Done():
					return
				}
				<-time.After(rand.N(spread))
				if err := d.Accept(ctx); err != nil {
					t.Error(err)
				}
				if done.Add(1) == int64(total) {
					cancel()
				}
			})
			if n := done.Load(); n != int64(total) {
				t.Errorf("%d of %d messages came", n, total)
			}
		})
	}
}
