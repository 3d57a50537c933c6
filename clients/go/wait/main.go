// Command wait deploys an image and waits until the rollout has ended:
//
//	wait 127.0.0.1:7420 namespaces/default/apps/web web:1.0
package main

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	gantry "github.com/gantry-dev/gantry/clients/go/gantry/v1"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: wait ADDRESS APP IMAGE")
	}
	// Does not connect yet: if no daemon listens, it is the first call that fails.
	conn, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(deploy(conn, os.Args[2], os.Args[3]))
}

// deploy prints how the rollout ended and returns the exit status.
func deploy(conn *grpc.ClientConn, app, image string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	deployed, err := repeat(ctx, conn, gantry.NewAppServiceClient(conn).DeployApp, &gantry.DeployAppRequest{
		App:    &gantry.App{Name: app, Spec: &gantry.AppSpec{Image: image, Replicas: proto.Int32(2)}},
		Reason: "example in Go",
		// Every repeat sends this id, so the app is deployed once, even if an answer is lost.
		RequestId: uuid.NewString(),
	})
	if err != nil {
		return printError(err)
	}
	rollout := deployed.Rollout
	if rollout == nil {
		fmt.Println("unchanged")
		return 0
	}
	for {
		switch rollout.State {
		case gantry.RolloutState_ROLLOUT_STATE_SUCCEEDED:
			fmt.Println("succeeded", rollout.Name)
			return 0
		case gantry.RolloutState_ROLLOUT_STATE_FAILED:
			cause := rollout.Error
			fmt.Printf("failed %s %s: %s\n", rollout.Name, cause.GetReason(), cause.GetMessage())
			return 1
		case gantry.RolloutState_ROLLOUT_STATE_SUPERSEDED:
			fmt.Printf("failed %s SUPERSEDED: %s\n", rollout.Name, rollout.Message)
			return 1
		}
		// New states may be added, so any other state is not taken as an end. The answer comes as soon as
		// the rollout has ended, and after 30 s with the rollout as it is.
		answer, err := repeat(ctx, conn, gantry.NewRolloutServiceClient(conn).WaitRollout,
			&gantry.WaitRolloutRequest{Name: rollout.Name, Timeout: durationpb.New(30 * time.Second)})
		if err != nil {
			return printError(err)
		}
		rollout = answer.Rollout
	}
}

// repeat makes a call until it is answered, or refused for a reason that does not pass by itself. It gives up
// after two minutes.
func repeat[Q, A any](ctx context.Context, conn *grpc.ClientConn,
	call func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		// Longer than the 30 s of WaitRollout, so that its answer arrives before this deadline.
		attempt, cancel := context.WithTimeout(ctx, 35*time.Second)
		answer, err := call(attempt, request)
		cancel()
		asked, code := detail[*errdetails.RetryInfo](err), status.Code(err)
		if asked == nil && code != codes.Unavailable && code != codes.DeadlineExceeded {
			return answer, err
		}
		log.Print(err)
		select {
		case <-ctx.Done():
			return answer, err
		// Half of the pause is random, so that not all clients of a restarted daemon come back at once.
		case <-time.After(asked.GetRetryDelay().AsDuration() + pause/2 + rand.N(pause/2)):
			// After a long outage, gRPC by itself would connect again only after up to two minutes.
			conn.ResetConnectBackoff()
		}
	}
}

// printError prints each field that is wrong, then the error, and returns the exit status.
func printError(err error) int {
	for _, field := range detail[*errdetails.BadRequest](err).GetFieldViolations() {
		fmt.Printf("  %s: %s\n", field.Field, field.Description)
	}
	// Errors that do not come from the daemon, such as a refused connection, have no reason.
	reason := detail[*errdetails.ErrorInfo](err).GetReason()
	// This enum prints INVALID_ARGUMENT, as the contract writes it; status.Code prints InvalidArgument.
	name := code.Code(status.Code(err)).String()
	fmt.Printf("error %s: %s\n", strings.TrimSpace(name+" "+reason), status.Convert(err).Message())
	return 1
}

// detail returns the detail of this type that the daemon sent with an error, or nil.
func detail[D any](err error) (none D) {
	for _, any := range status.Convert(err).Details() {
		if found, ok := any.(D); ok {
			return found
		}
	}
	return none
}
