package io.hydraopt.demo

import io.hydraopt.Cancellation
import io.hydraopt.HydraOptException
import io.hydraopt.StoppedException
import java.io.IOException
import java.util.concurrent.Executors

/** Changes the screen's state. */
typealias Change = State.() -> State

/**
 * The session's thread, which runs one job at a time.
 *
 * @param post runs a function on the main thread later.
 * @param log takes every error, with all that the library tells.
 * @param show changes the state, on the main thread.
 * @param ended the change at the end of every job; called on the session's thread.
 */
class Jobs(
    private val post: (() -> Unit) -> Unit,
    private val log: (Throwable) -> Unit,
    private val show: (Change) -> Unit,
    private val ended: () -> Change
) {
    private val worker = Executors.newSingleThreadExecutor { Thread(it, "session") }
    private var job = Job("", Work.NONE) // main thread's only

    /** Runs a job after the present one, which is stopped. */
    fun start(name: String, work: Work, body: Job.() -> Unit) {
        job.stop()
        val next = Job(name, work)
        job = next
        execute { next.run(body) }
    }

    /** Runs a function on the session's thread, after its jobs. */
    fun execute(body: () -> Unit) = worker.execute(body)

    /** Stops the running job. */
    fun stop() = job.stop()

    /** Stops the running job and ends the thread, after [last]. */
    fun close(last: () -> Unit) {
        job.stop()
        worker.execute(last)
        worker.shutdown()
    }

    /**
     * Work of the session's thread, until it ends, is stopped or another job follows.
     *
     * @param name the bundle or task that it is about.
     */
    inner class Job(private val name: String, private val work: Work) {
        val cancellation = Cancellation()
        val stopped get() = cancellation.isCancelled

        fun stop() = cancellation.cancel()

        /** Shows a change, unless another job has begun. */
        fun show(change: Change) = post { if (job === this) this@Jobs.show(change) }

        /** Shows a change even if another job has begun, before whatever that one shows. */
        fun settle(change: Change) = post { this@Jobs.show(change) }

        /** Shows pieces of a text; those that arrive faster than they are shown are combined. */
        fun stream(add: State.(String) -> State): (String) -> Unit {
            val pieces = StringBuilder() // that are not shown yet
            val taken = { synchronized(pieces) { "$pieces".also { pieces.setLength(0) } } }
            return { piece ->
                val isFirst = synchronized(pieces) {
                    pieces.append(piece)
                    pieces.length == piece.length
                }
                if (isFirst) show { add(taken()) }
            }
        }

        internal fun run(body: Job.() -> Unit) {
            try {
                body() // even if it was stopped already: it may have something to take back
            } catch (_: StoppedException) {
                // nothing to tell: it was asked for
            } catch (error: HydraOptException) {
                tell(error)
            } catch (error: IOException) {
                tell(error)
            } catch (error: OutOfMemoryError) {
                tell(error)
            }
            val change = ended()
            show { change().copy(work = Work.NONE) }
        }

        private fun tell(error: Throwable) {
            log(error)
            show { copy(problem = Problem(remedy(error, work), name)) }
        }
    }
}
