package io.hydraopt.demo

import android.view.View
import android.widget.TextView
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotSame
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

/** A prompt is answered, stopped and refused; the screen turns, and comes back. */
class ScreenTest : ScreenCase() {
    @Test
    fun aTaskIsFoundAndAnswers() {
        start()
        assertTrue(Regex("40 tasks · 4.. MB").matches(phone.text(R.id.bundle_details)))
        assertFalse(phone.view<View>(R.id.run).isEnabled)
        val (task, prompt, answer) = Fixtures.answers("zoo").first { it.task == "money-de" }
        phone.tap(R.id.task)
        assertEquals("the base, too", 41, phone.rows.size)
        phone.search("no such")
        assertEquals(View.VISIBLE, phone.dialog!!.findViewById<View>(R.id.nothing)!!.visibility)
        phone.search("money de")
        assertEquals(listOf(task), phone.rows)
        phone.tapRow(task)
        assertNull(phone.dialog)
        phone.awaitRest()
        assertEquals(task, phone.text(R.id.task))
        phone.type(R.id.prompt, prompt)
        phone.tap(R.id.run)
        phone.awaitRest()
        assertEquals(answer, phone.text(R.id.answer))
        assertTrue(phone.text(R.id.status), "ended by the model" in phone.text(R.id.status))
        assertTrue(spoken(R.id.status).startsWith("Answer: $answer. "))
        for (tile in FIGURES) {
            val value = phone.view<View>(tile).findViewById<TextView>(R.id.value)!!.text
            assertTrue("$value", Regex("[0-9,.]+( ms| MB)?").matches(value))
        }
        assertTrue(spoken(R.id.switch_high).startsWith("Switches: slowest of 1: "))
    }

    @Test
    fun anAnswerIsStopped() {
        start("slow")
        val asked = askSlowly()
        phone.tap(R.id.stop)
        phone.awaitRest()
        assertTrue(phone.text(R.id.status).endsWith("stopped"))
        assertTrue(phone.text(R.id.answer).length < asked.answer.length)
        assertTrue(phone.view<View>(R.id.run).isEnabled)
        assertFalse(phone.view<View>(R.id.stop).isEnabled)
    }

    @Test
    fun turningThePhoneKeepsAllWhileAnAnswerComes() {
        start("slow")
        phone.change("+land") // the first time takes seconds
        phone.change("+port")
        val asked = askSlowly()
        val before = phone.activity
        phone.change("+land")
        assertNotSame(before, phone.activity)
        assertEquals("Answering…", phone.text(R.id.status))
        assertTrue(phone.text(R.id.answer).length < asked.answer.length)
        phone.awaitRest()
        assertEquals(asked.answer, phone.text(R.id.answer))
        assertEquals(asked.task, phone.text(R.id.task))
        assertEquals(asked.prompt, phone.text(R.id.prompt))
        phone.change("+port")
        assertEquals(asked.answer, phone.text(R.id.answer))
        phone.tap(R.id.task)
        phone.search("sec")
        phone.change("+land-night")
        assertEquals(listOf("second"), phone.rows)
    }

    @Test
    fun aProcessThatWasEndedComesBack() {
        start()
        phone.choose("money-de")
        phone.type(R.id.prompt, "money 1.00 EUR=")
        val saved = android.os.Bundle()
        phone.controller.pause().saveInstanceState(saved).stop().destroy()
        val again = Phone()
        again.controller.create(saved).start().restoreInstanceState(saved).resume().visible()
        again.awaitRest()
        assertEquals("money-de", again.text(R.id.task))
        assertEquals("money 1.00 EUR=", again.text(R.id.prompt))
    }

    @Test
    fun errorsAreShownAndGoAway() {
        start()
        phone.choose("money-de")
        phone.type(R.id.prompt, "x".repeat(400))
        phone.tap(R.id.run)
        phone.awaitRest()
        assertTrue(phone.text(R.id.error).startsWith("This is too long for the model"))
        assertEquals(View.VISIBLE, phone.view<View>(R.id.error).visibility)
        assertTrue("${Phone.log}", Phone.log.any { "400 tokens, expected at most" in it })
        phone.type(R.id.prompt, "money 1.00 EUR=")
        phone.tap(R.id.run)
        phone.awaitRest()
        assertEquals(View.GONE, phone.view<View>(R.id.error).visibility)
    }

    @Test
    fun everyProblemIsToldWithoutWordsForDevelopers() {
        start()
        val told = Remedy.entries.map {
            phone.presenter.fail(Problem(it, "NAME"))
            phone.text(R.id.error)
        }
        assertEquals(Remedy.entries.size, told.toSet().size)
        for (text in told) {
            assertTrue(text, text.endsWith('.') && text[0].isUpperCase())
            assertFalse(text, Regex("export|hydraopt|exception|null").containsMatchIn(text))
        }
    }

    private companion object {
        val FIGURES = listOf(
            R.id.switch_last, R.id.switch_median, R.id.switch_low, R.id.switch_high,
            R.id.first_token, R.id.prefill, R.id.decode, R.id.memory_before, R.id.memory_now
        )
    }
}
