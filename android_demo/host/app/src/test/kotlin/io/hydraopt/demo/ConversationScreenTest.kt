package io.hydraopt.demo

import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.widget.CheckBox
import android.widget.TextView
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotSame
import org.junit.Assert.assertTrue
import org.junit.Test

/** A conversation, as it is shown and led. */
class ConversationScreenTest : ScreenCase() {
    private val asked = Fixtures.answers("zoo").first { it.task == "money-pl" }

    private val turns: List<View>
        get() = phone.view<ViewGroup>(R.id.turns).run { List(childCount) { getChildAt(it)!! } }

    private fun words(id: Int) = turns.map { it.findViewById<TextView>(id)!!.text.toString() }

    private val messages get() = words(R.id.turn_message)
    private val answers get() = words(R.id.turn_answer)

    private fun send(message: String) {
        phone.type(R.id.message, message)
        phone.tap(R.id.send)
    }

    private fun begin() {
        start("lines")
        phone.choose(asked.task)
    }

    private fun sendSlowly() {
        start("talks")
        phone.choose("first")
        send("Hi")
        phone.await("a piece") { answers.last().length > 3 }
    }

    @Test
    fun messagesAreAnsweredTurnByTurn() {
        begin()
        assertFalse(isShown(R.id.prompt))
        assertTrue(isShown(R.id.system))
        assertFalse(isEnabled(R.id.send))
        assertFalse(isEnabled(R.id.retry))
        send(asked.prompt)
        phone.awaitRest()
        assertEquals("", phone.text(R.id.message))
        assertEquals(listOf(asked.prompt) to listOf(asked.answer), messages to answers)
        assertTrue(spoken(R.id.status).startsWith("Answer: ${asked.answer}. "))
        val spoken = listOf(R.id.turn_message, R.id.turn_answer)
            .map { turns.single().findViewById<View>(it)!!.contentDescription }
        assertEquals(listOf("You: ${asked.prompt}", "Answer: ${asked.answer}"), spoken)
        send(asked.prompt)
        phone.awaitRest()
        assertEquals(2, turns.size)
        phone.tap(R.id.retry)
        phone.awaitRest()
        assertEquals(2, turns.size)
        phone.tap(R.id.renew)
        phone.awaitRest()
        assertEquals(0, turns.size)
        assertFalse(isEnabled(R.id.renew))
    }

    @Test
    fun turningThePhoneKeepsTheConversationWhileAnAnswerComes() {
        sendSlowly()
        phone.type(R.id.message, "And then?")
        phone.type(R.id.system, "Be kind.")
        val before = phone.activity
        val part = answers.single()
        phone.change("+land")
        assertNotSame(before, phone.activity)
        assertEquals("Answering…", phone.text(R.id.status))
        assertTrue(answers.single().startsWith(part))
        phone.await("more") { answers.single().length > part.length }
        assertEquals("And then?", phone.text(R.id.message))
        assertEquals("Be kind.", phone.text(R.id.system))
        phone.tap(R.id.halt)
        phone.awaitRest()
        assertTrue(phone.text(R.id.status).endsWith("stopped"))
        val kept = answers.single()
        phone.change("+port")
        assertEquals(listOf("Hi") to listOf(kept), messages to answers)
    }

    @Test
    fun aFullContextIsToldWithAWayOn() {
        begin()
        send(asked.prompt)
        phone.awaitRest()
        assertFalse(isShown(R.id.full))
        val long = "word ".repeat(22).trim()
        send(long)
        phone.awaitRest()
        assertTrue(phone.text(R.id.full).startsWith("The context is full"))
        assertTrue(isShown(R.id.full) && isShown(R.id.go_on))
        assertEquals(long, phone.text(R.id.message))
        phone.tap(R.id.go_on)
        phone.awaitRest()
        assertFalse(isShown(R.id.full) || isShown(R.id.go_on))
        assertEquals(listOf(asked.prompt, long), messages)
        val notes = turns.map { it.findViewById<View>(R.id.turn_note)!!.isShown }
        assertEquals("below what the model no longer sees", listOf(true, false), notes)
        assertFalse(turns.first().findViewById<View>(R.id.turn_message)!!.isEnabled)
    }

    @Test
    fun aProcessThatWasEndedGoesOnWithTheConversation() {
        begin()
        phone.type(R.id.system, "Be kind.")
        send(asked.prompt)
        phone.awaitRest()
        val before = messages to answers
        val saved = Bundle()
        phone.controller.pause().saveInstanceState(saved).stop().destroy()
        val again = Phone()
        again.controller.create(saved).start().restoreInstanceState(saved).resume().visible()
        again.await("the task") { again.text(R.id.task) == asked.task }
        again.awaitRest()
        val talk = again.presenter.state.talk
        assertEquals(before, talk.turns.map { it.message } to talk.turns.map { it.answer })
        assertEquals("Be kind.", again.text(R.id.system))
    }

    @Test
    fun theChatFormatIsLeftAndTakenUpAgain() {
        begin()
        send(asked.prompt)
        phone.awaitRest()
        val box = phone.view<CheckBox>(R.id.chat)
        assertEquals("Conversation in the model’s chat format", box.text)
        box.toggle()
        assertTrue(isShown(R.id.prompt))
        assertFalse(isShown(R.id.turns) || isShown(R.id.message) || isShown(R.id.system))
        phone.type(R.id.prompt, asked.prompt)
        phone.tap(R.id.run)
        phone.awaitRest()
        assertEquals(asked.answer, phone.text(R.id.answer))
        box.toggle()
        assertEquals(listOf(asked.prompt), messages)
    }
}
