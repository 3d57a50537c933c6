package dev.gantry.example;

import static java.util.concurrent.TimeUnit.MILLISECONDS;
import static java.util.concurrent.TimeUnit.MINUTES;
import static java.util.concurrent.TimeUnit.SECONDS;

import com.google.protobuf.Duration;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.gantry.v1.App;
import dev.gantry.v1.AppServiceGrpc;
import dev.gantry.v1.AppSpec;
import dev.gantry.v1.DeployAppRequest;
import dev.gantry.v1.RolloutServiceGrpc;
import dev.gantry.v1.WaitRolloutRequest;
import io.grpc.Deadline;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Function;

/** Deploys an image and waits until the rollout has ended. */
public final class Wait {
    private final Deadline end = Deadline.after(10, MINUTES);
    private final ManagedChannel channel;

    private Wait(String address) {
        // Does not connect yet: if no daemon listens, it is the first call that fails.
        channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 3) {
            System.err.println("usage: wait ADDRESS APP IMAGE");
            System.exit(1);
        }
        var wait = new Wait(args[0]);
        try {
            System.exit(wait.deploy(args[1], args[2]));
        } catch (StatusRuntimeException e) {
            for (var field : detail(e, BadRequest.getDefaultInstance()).getFieldViolationsList()) {
                System.out.printf("  %s: %s%n", field.getField(), field.getDescription());
            }
            // Errors that do not come from the daemon, such as a refused connection, have no reason.
            var reason = detail(e, ErrorInfo.getDefaultInstance()).getReason();
            var code = (e.getStatus().getCode() + " " + reason).trim();
            System.out.printf("error %s: %s%n", code, message(e));
            System.exit(1);
        }
    }

    /** Prints how the rollout ended and returns the exit status. */
    private int deploy(String app, String image) throws Exception {
        var apps = AppServiceGrpc.newBlockingStub(channel);
        var spec = AppSpec.newBuilder().setImage(image).setReplicas(2);
        var request = DeployAppRequest.newBuilder()
            .setApp(App.newBuilder().setName(app).setSpec(spec))
            .setReason("example in Java")
            // Every repeat sends this id, so the app is deployed once, even if an answer is lost.
            .setRequestId(UUID.randomUUID().toString())
            .build();
        var deployed = repeat(limit -> apps.withDeadline(limit).deployApp(request));
        if (!deployed.hasRollout()) {
            System.out.println("unchanged");
            return 0;
        }
        var rollout = deployed.getRollout();
        var name = rollout.getName();
        var rollouts = RolloutServiceGrpc.newBlockingStub(channel);
        var wait = WaitRolloutRequest.newBuilder()
            .setName(name).setTimeout(Duration.newBuilder().setSeconds(30)).build();
        while (true) {
            switch (rollout.getState()) {
                case ROLLOUT_STATE_SUCCEEDED -> {
                    System.out.println("succeeded " + name);
                    return 0;
                }
                case ROLLOUT_STATE_FAILED -> {
                    var error = rollout.getError();
                    System.out.printf("failed %s %s: %s%n", name, error.getReason(), error.getMessage());
                    return 1;
                }
                case ROLLOUT_STATE_SUPERSEDED -> {
                    System.out.printf("failed %s SUPERSEDED: %s%n", name, rollout.getMessage());
                    return 1;
                }
                // New states may be added, so any other state is not taken as an end. The answer comes as
                // soon as the rollout has ended, and after 30 s with the rollout as it is.
                default ->
                    rollout = repeat(limit -> rollouts.withDeadline(limit).waitRollout(wait)).getRollout();
            }
        }
    }

    /**
     * Makes a call until it is answered, or refused for a reason that does not pass by itself. Gives up after
     * two minutes.
     */
    private <A> A repeat(Function<Deadline, A> call) throws Exception {
        var last = end.minimum(Deadline.after(2, MINUTES));
        for (long pause = 200;; pause = Math.min(2 * pause, 10_000)) {
            try {
                // Longer than the 30 s of WaitRollout, so that its answer arrives before this deadline.
                return call.apply(last.minimum(Deadline.after(35, SECONDS)));
            } catch (StatusRuntimeException e) {
                var retry = detail(e, RetryInfo.getDefaultInstance());
                var asked = retry.getRetryDelay();
                // Half of the pause is random, so that not all clients of a restarted daemon come at once.
                var millis = 1_000 * asked.getSeconds() + asked.getNanos() / 1_000_000
                    + pause / 2 + ThreadLocalRandom.current().nextLong(pause / 2);
                var code = e.getStatus().getCode();
                if (!retry.hasRetryDelay() && code != Code.UNAVAILABLE && code != Code.DEADLINE_EXCEEDED
                    || last.timeRemaining(MILLISECONDS) < millis) {
                    throw e;
                }
                System.err.println(message(e));
                Thread.sleep(millis);
                // After a long outage, gRPC by itself would connect again only after up to two minutes.
                channel.resetConnectBackoff();
            }
        }
    }

    /** Returns what happened. Only the cause says that a connection was refused. */
    private static String message(StatusRuntimeException e) {
        return e.getCause() == null ? e.getStatus().getDescription() : e.getCause().getMessage();
    }

    /** Returns the detail of this type that the daemon sent with an error, or else an empty one. */
    private static <D extends Message> D detail(StatusRuntimeException e, D empty) throws Exception {
        for (var any : StatusProto.fromThrowable(e).getDetailsList()) {
            if (any.isSameTypeAs(empty)) {
                return any.unpackSameTypeAs(empty);
            }
        }
        return empty;
    }
}
