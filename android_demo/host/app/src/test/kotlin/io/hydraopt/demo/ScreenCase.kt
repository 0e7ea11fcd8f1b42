package io.hydraopt.demo

import android.app.Activity
import android.content.Intent
import android.net.Uri
import android.view.View
import org.junit.Assert.assertEquals
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** What a user sees and does, on the real library, runtime and bundles. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [36], qualifiers = Phone.SIZE)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
abstract class ScreenCase {
    protected val phone = Phone()

    protected fun start(bundle: String = "zoo") {
        Fixtures.linked(bundle, Phone.pushed)
        phone.start().awaitRest()
    }

    /** Asks the slow bundle; returns when the first pieces came. */
    protected fun askSlowly(): Asked {
        val asked = Fixtures.answers("slow").first()
        phone.choose(asked.task)
        phone.type(R.id.prompt, asked.prompt)
        phone.tap(R.id.run)
        phone.await("a piece") { phone.text(R.id.answer).startsWith(asked.answer.take(3)) }
        return asked
    }

    /** The answer of the system's picker, which must be open for [action]. */
    protected fun answerPicker(action: String, uri: Uri?) {
        val asked = shadowOf(phone.activity).nextStartedActivityForResult
        assertEquals(action, asked.intent.action)
        val code = if (uri == null) Activity.RESULT_CANCELED else Activity.RESULT_OK
        val result = uri?.let { Intent().setData(it) }
        shadowOf(phone.activity).receiveResult(asked.intent, code, result)
        phone.idle()
    }

    protected fun spoken(id: Int) = phone.view<View>(id).contentDescription.toString()

    protected fun isShown(id: Int) = phone.view<View>(id).isShown

    protected fun isEnabled(id: Int) = phone.view<View>(id).isEnabled
}
