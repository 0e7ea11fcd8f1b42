package io.hydraopt

import java.util.concurrent.CountDownLatch
import java.util.concurrent.ExecutionException
import java.util.concurrent.Executors
import java.util.concurrent.Future
import kotlin.concurrent.thread
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.BeforeClass
import org.junit.Test

/** Cancelling, closing, and calls of several threads. */
class ThreadsTest {
    private lateinit var session: TaskSession

    @Before
    fun open() {
        session = TaskSession.open(Fixtures.file("pieces"))
        session.switchTo("beta")
    }

    @After
    fun close() = session.close()

    /** Runs on another thread, and throws here what it threw there. */
    private fun elsewhere(body: () -> Unit) {
        val executor = Executors.newSingleThreadExecutor()
        try {
            executor.submit(body).get()
        } catch (error: ExecutionException) {
            throw error.cause!!
        } finally {
            executor.shutdown()
        }
    }

    @Test
    fun cancellingInTheMiddleKeepsWhatCame() {
        val whole = session.generate("hello", LONG).ids
        var pieces = 0
        val cancellation = Cancellation()
        val cut = session.generate("hello", LONG, cancellation) {
            if (++pieces == 3) cancellation.cancel()
        }
        assertEquals(End.CANCELLED, cut.end)
        assertTrue(cut.ids.size in 3 until whole.size)
        assertEquals(whole.take(cut.ids.size), cut.ids)
        assertEquals("another one is not cancelled", whole, session.generate("hello", LONG).ids)
    }

    @Test
    fun aCancellationBeforeTheStartIsNotLost() {
        val cancellation = Cancellation()
        cancellation.cancel()
        session.switchTo("alpha")
        session.reset()
        repeat(2) { // it stays cancelled
            val cut = session.generate("hello", LONG, cancellation) { throw AssertionError(it) }
            assertEquals(End.CANCELLED, cut.end)
            assertEquals(listOf<Int>(), cut.ids)
            assertEquals("", cut.text)
        }
        assertEquals("no forward pass was made", 0, session.position)
    }

    @Test
    fun anyThreadMayCancel() {
        val started = CountDownLatch(1)
        val cancelled = CountDownLatch(1)
        val cancellation = Cancellation()
        val other = Thread {
            started.await()
            cancellation.cancel()
            cancelled.countDown()
        }
        other.start()
        val cut = session.generate("hello", LONG, cancellation) {
            started.countDown()
            cancelled.await()
        }
        other.join()
        assertEquals(End.CANCELLED, cut.end)
        assertTrue(cut.ids.size < 8)
    }

    @Test
    fun everyThreadOfAPoolMayCall() {
        val expected = session.generate("hello", LONG).ids
        val forwarded = session.run { reset(); forward(intArrayOf(1)).toList() }
        val calls = listOf(
            { session.switchTo("alpha") },
            { session.switchTo("beta") },
            { assertEquals(expected, session.generate("hello", LONG).ids) },
            { session.reset() },
            { assertEquals(forwarded, session.forward(intArrayOf(1)).toList()) },
            { session.decode(session.encode("hello")) },
            { session.close() }
        )
        for (call in calls) elsewhere { call() }
        refuses<UsageException>("reset was called on a closed session") { session.reset() }
    }

    @Test
    fun callsOfSeveralThreadsTakeTurns() {
        val expected = session.generate("hello", LONG).ids
        val pool = Executors.newFixedThreadPool(4)
        val answers = List(20) { pool.submit<List<Int>> { session.generate("hello", LONG).ids } }
        for (answer in answers) assertEquals(expected, answer.get())
        pool.shutdown()
    }

    /** Runs [meanwhile] on another thread during a generation, after its first piece. */
    private fun duringAGeneration(meanwhile: () -> Unit): Generation {
        var other: Thread? = null
        val answer = session.generate("hello", LONG) {
            if (other == null) other = thread { meanwhile() }.apply { join() }
        }
        assertTrue("something was generated", other != null)
        return answer
    }

    @Test
    fun closingStopsTheGenerationAndFollowsIt() {
        val cut = duringAGeneration { session.close() } // and does not wait
        assertEquals(End.CANCELLED, cut.end)
        assertTrue(cut.ids.size < 8)
        refuses<UsageException>("generate was called on a closed") { session.generate("hello") }
        session.close()
    }

    @Test
    fun aCallbackMayCloseTheSession() {
        val cut = session.generate("hello", LONG) { session.close() }
        assertEquals(End.CANCELLED, cut.end)
        refuses<UsageException>("switchTo was called on a closed session") {
            session.switchTo("alpha")
        }
    }

    @Test
    fun whoWaitsForAClosedSessionIsRefused() {
        val waiting = CountDownLatch(1)
        val pool = Executors.newSingleThreadExecutor()
        val waits = pool.submit<String> {
            waiting.await()
            runCatching { session.generate("hello") }.exceptionOrNull()!!.message
        }
        duringAGeneration {
            waiting.countDown()
            Thread.sleep(50) // it waits for its turn, or comes too late: both are the same
            session.close()
        }
        assertEquals("generate was called on a closed session; open it again", waits.get())
        pool.shutdown()
    }

    @Test
    fun aCallbackMayNotCallTheSession() {
        val refused = ArrayList<String>()
        session.generate("hello", Options(3)) {
            val switch = { session.switchTo("alpha") }
            for (call in listOf<() -> Any>(switch, { session.generate("a") }, session::reset)) {
                refuses<UsageException>("by the function that generate calls") { call() }
                refused.add(it)
            }
        }
        assertTrue(refused.isNotEmpty())
        assertEquals("beta", session.task)
    }

    @Test
    fun anotherSessionIsOpenedWhileOneGenerates() {
        val expected = session.generate("hello", LONG).ids
        val answers = ArrayList<List<Int>>()
        val opened = {
            TaskSession.open(Fixtures.file("pieces")).use {
                it.switchTo("beta")
                answers.add(it.generate("hello", LONG).ids)
            }
            Unit
        }
        assertEquals(expected, duringAGeneration(opened).ids)
        assertEquals(listOf(expected), answers)
        session.generate("hello", Options(1)) { opened() }
        assertEquals(expected, answers.last())
    }

    @Test
    fun twoSessionsAnswerSideBySide() {
        val wanted = session.generate("hello", LONG).ids
        val executor = Executors.newFixedThreadPool(2)
        val answers: List<Future<List<List<Int>>>> = List(2) {
            executor.submit<List<List<Int>>> {
                TaskSession.open(Fixtures.file("pieces").absoluteFile).use { mine ->
                    List(20) {
                        mine.switchTo("beta")
                        mine.generate("hello", LONG).ids
                    }
                }
            }
        }
        for (answer in answers) assertEquals(List(20) { wanted }, answer.get())
        executor.shutdown()
    }

    companion object {
        private val LONG = Options(maxNewTokens = 20)

        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
