package io.hydraopt.coroutines

import io.hydraopt.Cancellation
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.ThreadPoolExecutor
import java.util.concurrent.TimeUnit
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.channelFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.suspendCancellableCoroutine
import kotlinx.coroutines.withContext

/** The one thread that a session's calls run on, in their order; without any it ends. */
internal class SessionThread {
    private val executor = ThreadPoolExecutor(
        1, 1, IDLE_SECONDS, TimeUnit.SECONDS, LinkedBlockingQueue()
    ) { Thread(it, NAME).apply { isDaemon = true } }.apply { allowCoreThreadTimeOut(true) }
    private val dispatcher = executor.asCoroutineDispatcher()

    /**
     * Runs [body] there, and waits for its end.
     *
     * @param body receives a cancellation that comes with that of the coroutine.
     */
    suspend fun <T> call(body: (Cancellation) -> T): T = withContext(dispatcher) {
        val cancellation = Cancellation()
        // unconfined: its end does not queue behind other calls
        val watching = launch(Dispatchers.Unconfined, CoroutineStart.UNDISPATCHED) {
            suspendCancellableCoroutine<Nothing> { coroutine ->
                coroutine.invokeOnCancellation { cancellation.cancel() } // at once, on any thread
            }
        }
        try {
            body(cancellation)
        } finally {
            watching.cancel()
        }
    }

    /** The pieces that [body] passes on; it runs once for each collector. */
    fun pieces(body: (Cancellation, (String) -> Unit) -> Unit): Flow<String> = channelFlow {
        call { cancellation -> body(cancellation) { trySend(it) } }
    }.buffer(Channel.UNLIMITED) // the session does not wait for who reads

    private companion object {
        const val NAME = "hydraopt"
        const val IDLE_SECONDS = 5L
    }
}
