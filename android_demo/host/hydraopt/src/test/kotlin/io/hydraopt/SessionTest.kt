package io.hydraopt

import org.junit.Assert.assertEquals
import org.junit.BeforeClass
import org.junit.Test

/** The session on real bundles: answers, switches, cancelling, the thread rule. */
class SessionTest {
    @Test
    fun everyTaskAnswersAsInPython() {
        TaskSession.open(Fixtures.file("zoo")).use { session ->
            val cases = Fixtures.records("zoo_answers.json")
            assertEquals(session.tasks, cases.map { it.string("task") })
            for (case in cases) {
                session.switch(case.string("task"))
                val pieces = ArrayList<String>()
                val answer = session.generate(case.string("prompt")) { pieces.add(it) }
                assertEquals(case.string("task"), case.string("text"), answer.text)
                assertEquals(case.ints("ids"), answer.ids)
                assertEquals(answer.text, pieces.joinToString(""))
            }
        }
    }

    companion object {
        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
