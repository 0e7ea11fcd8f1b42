package io.hydraopt.coroutines

import io.hydraopt.Cancellation
import io.hydraopt.Full
import io.hydraopt.Generation
import io.hydraopt.ChatMessage
import io.hydraopt.Options
import io.hydraopt.Output
import io.hydraopt.Picture
import io.hydraopt.SwitchTimes
import io.hydraopt.TaskSession
import io.hydraopt.Tokenizer
import java.io.Closeable
import java.io.File
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.flow.Flow

/**
 * A [TaskSession] for coroutines: its functions suspend, from any dispatcher, while the call runs
 * on the session's own thread. Calls run one after another, in their order.
 *
 * **Cancellation.** A call whose coroutine is cancelled before its turn is not made. A generation
 * stops after its current token, a prompt after its current piece; the coroutine ends after that,
 * so that what follows finds the session free.
 *
 * Errors are those of [TaskSession].
 *
 * @property session the session itself, for properties such as [TaskSession.task].
 */
class CoroutineSession private constructor(
    val session: TaskSession,
    private val thread: SessionThread
) : Closeable {
    /** As [TaskSession.switchTo]. */
    suspend fun switchTo(
        task: String,
        scale: Float = 1f,
        keepCache: Boolean = false
    ): SwitchTimes = thread.call { session.switchTo(task, scale, keepCache) }

    /** As [TaskSession.switchTo] for a mixture. */
    suspend fun switchTo(weights: Map<String, Float>, keepCache: Boolean = false): SwitchTimes =
        thread.call { session.switchTo(weights, keepCache) }

    /** As [TaskSession.switchToBase]. */
    suspend fun switchToBase(keepCache: Boolean = false): SwitchTimes =
        thread.call { session.switchToBase(keepCache) }

    /** As [TaskSession.generate]. */
    suspend fun generate(prompt: String, options: Options = Options()): Generation =
        thread.call { session.generate(prompt, options, it) }

    /**
     * The answer of [TaskSession.generate], piece by piece.
     *
     * Each collection generates it anew. The session does not wait for a slow collector; if the
     * collector ends early, so does the generation.
     */
    fun stream(prompt: String, options: Options = Options()): Flow<String> =
        thread.pieces { cancellation, emit ->
            session.generate(prompt, options, cancellation, emit)
        }

    /** As [TaskSession.run] for a text. */
    suspend fun run(text: String): Output = thread.call { session.run(text) }

    /** As [TaskSession.run] for token ids. */
    suspend fun run(ids: IntArray): Output = thread.call { session.run(ids) }

    /** As [TaskSession.run] for a picture. */
    suspend fun run(picture: Picture): Output = thread.call { session.run(picture) }

    /** As [TaskSession.run] for pixel values. */
    suspend fun run(pixels: FloatArray): Output = thread.call { session.run(pixels) }

    /** As [TaskSession.chat]. */
    suspend fun chat(
        system: String? = null,
        messages: List<ChatMessage> = listOf(),
        full: Full = Full.REFUSE
    ): CoroutineChat = CoroutineChat(thread.call { session.chat(system, messages, full) }, thread)

    /**
     * Makes other calls of the session on its thread.
     *
     * @param body receives the cancellation of this call, for functions that take one.
     */
    suspend fun <T> call(body: TaskSession.(Cancellation) -> T): T =
        thread.call { session.body(it) }

    /** As [TaskSession.close]: does not wait for the end of a call that runs. */
    override fun close() = session.close()

    /** Opens sessions. */
    companion object {
        /** As [TaskSession.open]; a session that opens while its coroutine is cancelled is closed. */
        suspend fun open(
            directory: File,
            threads: Int = 0,
            freeMemory: Long? = TaskSession.freeMemory(),
            tokenizer: Tokenizer? = null
        ): CoroutineSession {
            val thread = SessionThread()
            var opened: TaskSession? = null
            try {
                return thread.call {
                    val session = TaskSession.open(directory, threads, freeMemory, tokenizer)
                    opened = session
                    CoroutineSession(session, thread)
                }
            } catch (ended: CancellationException) {
                opened?.close() // nobody else can
                throw ended
            }
        }
    }
}
